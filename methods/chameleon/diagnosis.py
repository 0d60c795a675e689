"""How much of Chameleon's layers and of theta_N the pairs decide, and how much chance does.

CCS does not know which of a pair is personal: its loss is symmetric, and with `joint` or `none` normalization so is all
that comes before, so personal and neutral swapped at random give the same loss up to rounding. A low loss is evidence
only against pairs that have nothing in common, which is why the same representations are paired at random as well; with
fewer pairs than dimensions these succeed too. The margin on pairs held out does know the sides: swapping them there is
an exact permutation test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from scipy.stats import t as student_t
from torch.nn.functional import cosine_similarity

from harness.api import Diagnosis
from harness.methods.chameleon.ccs import CcsConfig, Probe, fit_ccs
from harness.methods.chameleon.directions import TIE, Directions, Grouped, Identification, LayerChoice, halves, identify

_DRAWS = 5  # random pairings
_SEEDS = 2  # besides that of the fit
_SWAPS = 999
_ALPHA = 0.05

_TITLE = "what Chameleon's directions rest on"
_EXPLANATION = (
    f"Layers tied: how many competed for the last place within {TIE:g}. All else: the mean over the layers edited and "
    "over groups. Ccs loss swapped: personal and neutral exchanged at random, pair by pair, which CCS cannot notice "
    f"unless it normalizes each side. Ccs loss random pairs: the mean of {_DRAWS} fits to the same representations "
    "paired at random, among which there is nothing to find. Margin: of g(P) - g(N) on pairs that the probe has not "
    f"seen and no choice of layers has compared; swapped: its mean over {_SWAPS} random exchanges; p: the share of "
    f"these that reaches it. Theta N agreement: |cos| with theta N of {_SEEDS} other seeds of CCS. Theta cosine: |cos| "
    "of theta P and theta N; at 1, strengthening and removing come to removing."
)


@dataclass(frozen=True)
class _Problem:
    pairs: torch.Tensor
    mask: torch.Tensor
    seed: int


def diagnose(
    grouped: Grouped,
    found: Directions,
    identification: Identification,
    ccs: CcsConfig,
    seed: int,
    choice: LayerChoice | None,
) -> Diagnosis:
    """Evidence on `found` from the pairs of the layers that it edits, [2, G, len(found.layers), K, d].

    `choice` is what the layers were chosen by, None where there was nothing to choose. Never more problems of CCS at
    once than the fit had, so that the peak of memory is that of the fit.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs, mask, available = grouped.pairs, grouped.mask, found.loss.shape[1]
    held_out, seen = halves(mask)  # the other way round than where layers are chosen
    problems = [
        _Problem(swapped(grouped, generator), mask, seed),
        _Problem(pairs, seen, seed),
        *(_Problem(paired_at_random(grouped, generator), mask, seed) for _ in range(_DRAWS)),
        *(_Problem(pairs, mask, seed + 1 + other) for other in range(_SEEDS)),
    ]
    exchanged, half, *rest = _solve(problems, ccs, at_once=max(1, available // len(found.layers)))
    edited = found.edited.to(mask.device)

    def mean(values: torch.Tensor) -> float:
        return float(values[edited].mean())

    loss = mean(found.loss[:, list(found.layers)].to(pairs))
    random = [mean(probe.loss) for probe in rest[:_DRAWS]]
    margin, margin_swapped, p = margins(half, Grouped(pairs, held_out), edited, generator)
    theta_p, theta_n = found.personal.to(pairs), found.neutral.to(pairs)
    others = [found.at_chosen(identify(pairs, probe.directions(), identification)[1]) for probe in rest[_DRAWS:]]
    agreement = [float(cosine_similarity(theta_n, other, dim=-1).abs().mean()) for other in others]
    values: dict[str, float | str] = {
        "layers": _layers(found),
        "layers_tied": "not chosen" if choice is None else f"{found.layer_ties:g} of {available}",
        "groups": float(len(mask)),
        "pairs": float(mask.sum()) / len(mask),
        "dimensions": float(pairs.shape[-1]),
        "ccs_loss": loss,
        "ccs_loss_swapped": mean(exchanged.loss),
        "ccs_loss_random_pairs": fmean(random),
        "margin": margin,
        "margin_swapped": margin_swapped,
        "margin_p": p,
        "theta_n_agreement": fmean(agreement),
        "theta_cosine": float(cosine_similarity(theta_p, theta_n, dim=-1).abs().mean()),
    }
    reasons = {
        "the same representations paired at random reach as low a loss": choice == "ccs_loss"
        and loss > lowest_by_chance(random, available) - TIE,
        "pairs held out are told apart no better than with personal and neutral swapped": p > _ALPHA,
        "all layers tie": found.layer_ties == available,
    }
    caution = _caution(choice, [reason for reason, holds in reasons.items() if holds]) if choice else ""
    return Diagnosis(_TITLE, values, _EXPLANATION, caution)


def lowest_by_chance(losses: Sequence[float], layers: int) -> float:
    """The loss that the lowest of `layers` layers of random pairs undercuts once in 20 times, from draws of one layer.

    A one-sided prediction bound for losses that are normal in their logarithm, Bonferroni over the layers.
    """
    logs = [math.log(max(loss, 1e-12)) for loss in losses]
    spread = stdev(logs) * (1 + 1 / len(logs)) ** 0.5
    return math.exp(fmean(logs) + float(student_t.ppf(_ALPHA / layers, len(logs) - 1)) * spread)


def swapped(grouped: Grouped, generator: torch.Generator) -> torch.Tensor:
    """The pairs [2, G, L, K, d] with personal and neutral exchanged at random, alike in all layers."""
    coins = torch.randint(2, grouped.mask.shape, generator=generator).bool().to(grouped.mask.device)
    return torch.where(coins[None, :, None, :, None], grouped.pairs.flip(0), grouped.pairs)


def paired_at_random(grouped: Grouped, generator: torch.Generator) -> torch.Tensor:
    """Pairs [2, G, L, K, d] of the same representations, drawn anew within each group, alike in all layers."""
    drawn = torch.zeros_like(grouped.pairs)
    for group, mask in enumerate(grouped.mask):
        own = torch.cat(list(grouped.pairs[:, group][:, :, mask]), dim=1)  # [L, 2 * pairs, d]
        order = torch.randperm(own.shape[1], generator=generator).to(own.device)
        drawn[:, group, :, : own.shape[1] // 2] = torch.stack(own[:, order].chunk(2, dim=1))
    return drawn


def margins(
    probe: Probe, held_out: Grouped, edited: torch.Tensor, generator: torch.Generator
) -> tuple[float, float, float]:
    """(margin, its mean with sides swapped at random, p): the mean over `edited` [G, L]."""
    mask = held_out.mask[:, None].to(held_out.pairs)
    gaps = probe.gaps(held_out.pairs) * mask
    change = probe.gaps(held_out.pairs.flip(0)) * mask - gaps
    coins = torch.randint(2, (_SWAPS, *held_out.mask.shape), generator=generator).to(gaps)
    totals = torch.cat([gaps.sum(dim=-1)[None], gaps.sum(dim=-1) + torch.einsum("sgk,glk->sgl", coins, change)])
    found, *drawn = (totals.abs() / mask.sum(dim=-1).clamp(min=1))[:, edited].mean(dim=-1).tolist()
    reached = sum(value >= found - 1e-6 for value in drawn)
    return found, sum(drawn) / _SWAPS, (1 + reached) / (1 + _SWAPS)


def _solve(problems: Sequence[_Problem], ccs: CcsConfig, at_once: int) -> list[Probe]:
    groups = len(problems[0].mask)
    probes: list[Probe] = []
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        seeds = [problem.seed for problem in some for _ in range(groups)]
        pairs = torch.cat([problem.pairs for problem in some], dim=1)
        probes += _split(fit_ccs(pairs, torch.cat([problem.mask for problem in some]), ccs, seeds), groups)
    return probes


def _split(probe: Probe, groups: int) -> list[Probe]:
    by_group = (part.split(groups) for part in (probe.weight, probe.bias, probe.loss))
    by_side = (part.split(groups, dim=1) for part in (probe.mean, probe.scale))
    return [Probe(*parts) for parts in zip(*by_group, *by_side, strict=True)]


def _layers(found: Directions) -> str:
    """`0, 2`; where groups choose by themselves, with the number of groups: `0 (3 groups), 2 (5 groups)`."""
    counts = found.edited.sum(dim=0).tolist()
    alike = found.edited.all()
    return ", ".join(
        f"{layer}" if alike else f"{layer} ({count} group{'s' * (count > 1)})"
        for layer, count in zip(found.layers, counts, strict=True)
    )


def _caution(choice: LayerChoice, reasons: Sequence[str]) -> str:
    name = "CCS loss" if choice == "ccs_loss" else "held-out margin"
    return f"the choice of layers by {name} is no better than chance, as {' and '.join(reasons)}" if reasons else ""
