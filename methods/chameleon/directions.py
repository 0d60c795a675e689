"""From pair representations to directions and layers (Sections 3.2 and 3.3, Appendix A.4). Tensors only, no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch

from harness.methods.chameleon.ccs import CcsConfig, Probe, fit_ccs

Identification = Literal["hybrid", "svd", "ccs"]
LayerChoice = Literal["ccs_loss", "margin"]

TIE = 1e-3  # losses, and margins, closer than this say nothing about which layer is better
_TRIAL_EPOCHS = 5
_TRIAL_PAIRS = 16
_TRIAL_GROUPS = 4
_TRIAL_NUMBERS = 2_000_000  # in the larger trial, at most; models are wide and a trial shall be cheap


@dataclass(frozen=True)
class Grouped:
    """Representations by group, padded: pairs [2, G, L, K, d] (personalized, neutral; 0 where padded), mask [G, K]."""

    pairs: torch.Tensor
    mask: torch.Tensor

    @staticmethod
    def of(personal: torch.Tensor, neutral: torch.Tensor, groups: Sequence[Sequence[int]]) -> "Grouped":
        """From [N, L, d] each, and the row numbers that make up each group."""
        longest = max(len(rows) for rows in groups)
        pairs = personal.new_zeros(2, len(groups), longest, *personal.shape[1:])
        mask = torch.zeros(len(groups), longest, dtype=torch.bool, device=personal.device)
        for number, rows in enumerate(groups):
            pairs[0, number, : len(rows)] = personal[list(rows)]
            pairs[1, number, : len(rows)] = neutral[list(rows)]
            mask[number, : len(rows)] = True
        return Grouped(pairs.transpose(2, 3), mask)


@dataclass(frozen=True)
class Directions:
    """`personal` and `neutral` [G, len(layers), d], zero where a group leaves a layer alone; CCS `loss` [G, L].

    `edited` [G, len(layers)] is true where a group edits a layer. `layer_ties` is how many layers competed for the last
    place within `TIE`, 0 if there was no contest; the mean over groups that choose by themselves.
    """

    layers: tuple[int, ...]
    personal: torch.Tensor
    neutral: torch.Tensor
    loss: torch.Tensor
    edited: torch.Tensor
    layer_ties: float


def top_direction(representations: torch.Tensor) -> torch.Tensor:
    """A.4, equation 3: the top right singular vector [..., d] of the uncentred [..., K, d]. Zero rows are harmless."""
    return torch.linalg.svd(representations, full_matrices=False).Vh[..., 0, :]


def find_directions(
    grouped: Grouped,
    identification: Identification,
    ccs: CcsConfig,
    seed: int,
    num_layers: int,
    layers: Sequence[int] | None = None,
    layers_per_group: bool = False,
    layer_choice: LayerChoice = "ccs_loss",
) -> Directions:
    """theta_P, theta_N and the layers to edit.

    With `ccs` both directions are normals of one hyperplane, so that strengthening and then removing comes to removing.
    `layers_per_group` lets each group choose by its own loss, which keeps individual users independent of each other.
    `layer_choice`: by the lowest loss, ties going to the larger held-out margin, or the other way round.
    """
    probe = fit_ccs(grouped.pairs, grouped.mask, ccs, seed)
    chosen, ties = _choose(grouped, probe, ccs, seed, num_layers, layers, layers_per_group, layer_choice)
    union = tuple(sorted(set().union(*chosen)))
    both = identify(grouped.pairs[:, :, list(union)], probe.directions()[:, :, list(union)], identification)
    edited = torch.tensor([[layer in own for layer in union] for own in chosen])
    personal, neutral = (both.cpu() * edited[..., None]).unbind()
    return Directions(union, personal, neutral, probe.loss.cpu(), edited, ties)


def choose_layers(loss: torch.Tensor, margin: torch.Tensor, num_layers: int) -> tuple[int, ...]:
    """The layers with the lowest loss [L]; where `tied_layers` finds a tie, the largest margin [L] wins.

    Chosen by margin, -margin is the loss and -loss the margin.
    """
    order = loss.argsort(stable=True).tolist()
    tied = tied_layers(loss, num_layers)
    sure = [layer for layer in order[:num_layers] if layer not in tied]
    by_margin = sorted(tied, key=lambda layer: -float(margin[layer]))
    return tuple(sorted(sure + by_margin[: num_layers - len(sure)]))


def tied_layers(loss: torch.Tensor, num_layers: int) -> list[int]:
    """Layers whose loss [L] is within `TIE` of the `num_layers`-th lowest; none if they all have a place."""
    last = float(loss.sort().values[num_layers - 1])
    tied = [layer for layer, value in enumerate(loss.tolist()) if abs(value - last) <= TIE]
    sure = sum(value < last - TIE for value in loss.tolist())
    return tied if sure + len(tied) > num_layers else []


def identify(pairs: torch.Tensor, normals: torch.Tensor, identification: Identification) -> torch.Tensor:
    """theta_P and theta_N [2, G, L, d] from pairs [2, G, L, K, d] and the normals of `Probe.directions`."""
    if identification == "ccs":
        return normals
    personal = top_direction(pairs[0])
    return torch.stack([personal, normals[1] if identification == "hybrid" else top_direction(pairs[1])])


def halves(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each group's pairs by turns: two masks [G, K]."""
    place = mask.cumsum(dim=1) - 1
    return mask & (place % 2 == 0), mask & (place % 2 == 1)


def held_out_margin(grouped: Grouped, ccs: CcsConfig, seed: int) -> torch.Tensor:
    """Margin [G, L] on every second pair of a probe that saw only the others."""
    seen, held_out = halves(grouped.mask)
    return fit_ccs(grouped.pairs, seen, ccs, seed).margin(grouped.pairs, held_out)


def seconds_by_pairs(
    layers: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> Callable[[float, int], float]:
    """How long `find_directions` will take, by the number of pairs (padding included) and of the groups they are in.

    A plane through a few epochs on noise: few pairs, many pairs, few pairs in several groups; of everything timed, the
    quicker of two times, as what else a machine does only adds. `elapsed` returns seconds. Counts CCS twice, as a tie
    between layers needs a second fit.
    """
    few, groups = _TRIAL_PAIRS, _TRIAL_GROUPS
    many = max(2 * few, min(_TRIAL_PAIRS**2, _TRIAL_NUMBERS // (layers * size)))
    _timed((1, layers, few, size), ccs, device, elapsed)  # the first call allocates and loads
    low, high, split = (
        _predicted(shape, ccs, device, elapsed)
        for shape in ((1, layers, few, size), (1, layers, many, size), (groups, layers, few // groups, size))
    )
    by_pair, by_group = max(0.0, high - low) / (many - few), max(0.0, split - low) / (groups - 1)
    return lambda pairs, groups: low + by_pair * max(0.0, pairs - few) + by_group * max(0, groups - 1)


def _predicted(
    shape: tuple[int, int, int, int], ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> float:
    trials = [_timed(shape, ccs, device, elapsed) for _ in range(2)]
    decomposition, once, longer = map(min, zip(*trials, strict=True))
    per_epoch = max(0.0, longer - once) / _TRIAL_EPOCHS  # what a fit costs beside its epochs is paid once
    return decomposition + 2 * (once + per_epoch * (ccs.epochs - 1))


def _timed(
    shape: tuple[int, int, int, int], ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> tuple[float, float, float]:
    """Seconds of the decomposition, and of CCS for one epoch and for `_TRIAL_EPOCHS` more."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *shape, generator=generator).to(device)
    mask = torch.ones(shape[0], shape[2], dtype=torch.bool, device=device)
    edges = [elapsed()]
    float(top_direction(noise).sum())
    edges.append(elapsed())
    for epochs in (1, 1 + _TRIAL_EPOCHS):
        float(fit_ccs(noise, mask, ccs.model_copy(update={"epochs": epochs}), seed=0).loss.sum())
        edges.append(elapsed())
    decomposition, once, longer = (end - start for start, end in pairwise(edges))
    return decomposition, once, longer


def _choose(
    grouped: Grouped,
    probe: Probe,
    ccs: CcsConfig,
    seed: int,
    num_layers: int,
    layers: Sequence[int] | None,
    layers_per_group: bool,
    layer_choice: LayerChoice,
) -> tuple[list[tuple[int, ...]], float]:
    groups = len(grouped.mask)
    if layers is not None:
        return [tuple(layers)] * groups, 0

    def shared(values: torch.Tensor) -> torch.Tensor:
        return values if layers_per_group else values.mean(dim=0, keepdim=True)

    losses = shared(probe.loss)
    by_margin = layer_choice == "margin"
    tied = by_margin or any(tied_layers(loss, num_layers) for loss in losses)
    margins = shared(held_out_margin(grouped, ccs, seed)) if tied else torch.zeros_like(losses)
    first, second = (-margins, -losses) if by_margin else (losses, margins)
    chosen = [choose_layers(low, high, num_layers) for low, high in zip(first, second, strict=True)]
    ties = [len(tied_layers(low, num_layers)) for low in first]
    return (chosen if layers_per_group else chosen * groups), sum(ties) / len(ties)
