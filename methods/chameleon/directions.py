"""From pair representations to directions and layers (Sections 3.2 and 3.3, Appendix A.4). Tensors only, no model.

Representations are taken a part at a time, some groups at some layers, so that what is in memory has a bound however
many users, pairs and layers there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.nn.functional import normalize

from harness.methods.chameleon.ccs import CcsConfig, Probe, fit_ccs

Identification = Literal["hybrid", "svd", "ccs", "svd_difference"]
LayerChoice = Literal["ccs_loss", "margin"]

TIE = 1e-3  # losses, and margins, closer than this say nothing about which layer is better
_PART = 2**27  # numbers of representations in memory at once; a single group at a single layer may have more
_BLOCK = 2**23  # numbers of a running Gram matrix's block, which is in double precision
_WIDE = 512  # from so many pairs and dimensions on, a Gram matrix takes longer than Lanczos iteration


class Source(Protocol):
    """Representations of groups of pairs: `counts` [G] says how many each group has."""

    layers: int
    size: int
    counts: torch.Tensor

    def part(self, groups: slice, layers: Sequence[int]) -> "Grouped":
        """Those of some groups at some layers."""
        ...


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

    @property
    def layers(self) -> int:
        return self.pairs.shape[2]

    @property
    def size(self) -> int:
        return self.pairs.shape[-1]

    @property
    def counts(self) -> torch.Tensor:
        """Pairs of each group, [G]."""
        return self.mask.sum(dim=1)

    def part(self, groups: slice, layers: Sequence[int]) -> "Grouped":
        """Some groups at some layers."""
        return Grouped(self.pairs[:, groups][:, :, list(layers)], self.mask[groups])


@dataclass(frozen=True)
class Directions:
    """Directions of each group at the layers it edits, on the CPU: `chosen` [G, l] names these, of `layers`.

    `personal` and `neutral` are [G, l, d], CCS `loss` is [G, L]. `layer_ties` is how many layers competed for the
    last place within `TIE`, 0 if there was no contest; the mean over groups that choose by themselves.
    """

    chosen: torch.Tensor
    personal: torch.Tensor
    neutral: torch.Tensor
    loss: torch.Tensor
    layer_ties: float

    @staticmethod
    def join(parts: Sequence["Directions"]) -> "Directions":
        """Groups one after the other."""
        rows = torch.tensor([len(part.chosen) for part in parts])
        ties = sum(len(part.chosen) * part.layer_ties for part in parts) / int(rows.sum())
        names = ("chosen", "personal", "neutral", "loss")
        chosen, personal, neutral, loss = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        return Directions(chosen, personal, neutral, loss, ties)

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers that some group edits, rising."""
        return tuple(self.chosen.unique().tolist())

    @property
    def places(self) -> torch.Tensor | None:
        """`chosen` [G, l] as positions in `layers`; None where every group edits all of these."""
        layers = torch.tensor(self.layers)
        return None if self.chosen.shape[1] == len(layers) else torch.searchsorted(layers, self.chosen.contiguous())

    @property
    def edited(self) -> torch.Tensor:
        """Whether a group edits a layer, [G, len(layers)]."""
        return (self.chosen[..., None] == torch.tensor(self.layers)).any(dim=1)

    def at_chosen(self, values: torch.Tensor, groups: slice = slice(None)) -> torch.Tensor:
        """Of values [g, len(layers), ...] of some groups those of what each edits, [g, l, ...]."""
        if (places := self.places) is None:
            return values
        own = places[groups].to(values.device)
        return values[torch.arange(len(values), device=values.device)[:, None], own]


def top_direction(representations: torch.Tensor) -> torch.Tensor:
    """A.4, equation 3: the top right singular vector [..., d] of the uncentred [..., K, d], of norm 1.

    By the Gram matrix in double precision, of pairs or of dimensions, summed up block by block, where these are few;
    otherwise by Lanczos iteration, which takes no more memory and reads the representations a few dozen times. Zero
    rows are harmless; zeros alone give a zero vector.
    """
    count, size = representations.shape[-2:]
    if min(count, size) >= _WIDE:
        flat = [_by_lanczos(matrix) for matrix in representations.reshape(-1, count, size)]
        return torch.stack(flat).reshape(*representations.shape[:-2], size)
    if count < size:
        exact = representations.double()
        vector = (exact.mT @ _top_eigenvector(exact @ exact.mT)[..., None])[..., 0]
    else:
        blocks = representations.split(max(1, _BLOCK // size), dim=-2)
        vector = _top_eigenvector(sum((block := raw.double()).mT @ block for raw in blocks))
    return normalize(vector, dim=-1).to(representations)


def _top_eigenvector(gram: torch.Tensor) -> torch.Tensor:
    """Of the largest eigenvalue, [..., n], of symmetric [..., n, n]; zeros for zeros."""
    some = gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True) > 0
    return torch.linalg.eigh(gram).eigenvectors[..., -1] * some


def _by_lanczos(matrix: torch.Tensor) -> torch.Tensor:
    """The top right singular vector [d] of [K, d]."""
    start = matrix[matrix.norm(dim=-1).argmax()]
    if not start.any():
        return torch.zeros_like(start)

    def product(vector: NDArray[np.float32]) -> NDArray[np.float32]:
        given = torch.from_numpy(vector.ravel()).to(matrix)
        return (matrix.mT @ (matrix @ given)).cpu().numpy()

    size = len(start)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
    vector = eigsh(operator, k=1, v0=start.cpu().numpy())[1][:, 0]
    return normalize(torch.from_numpy(vector).to(matrix), dim=0)


def find_directions(
    source: Source,
    identification: Identification,
    ccs: CcsConfig,
    seed: int,
    num_layers: int,
    layers: Sequence[int] | None = None,
    layers_per_group: bool = False,
    layer_choice: LayerChoice = "ccs_loss",
) -> Directions:
    """theta_P, theta_N and the layers to edit.

    With `ccs` and `svd_difference` both are one direction, so that strengthening and then removing comes to removing.
    `layers_per_group` lets each group choose by its own loss, which keeps individual users independent of each other.
    `layer_choice`: by the lowest loss, ties going to the larger held-out margin, or the other way round.
    """
    search = _Search(source, identification, ccs, seed, num_layers, layers, layer_choice)
    if layers_per_group:
        return Directions.join([search.of_groups(groups) for groups in group_slices(source, source.layers)])
    return search.of_all()


def group_slices(source: Source, layers: int) -> Iterator[slice]:
    """Groups of which `layers` layers are in memory at once."""
    per_group = 2 * layers * int(source.counts.max()) * source.size
    step = max(1, _PART // per_group)
    return (slice(start, start + step) for start in range(0, len(source.counts), step))


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
    """theta_P and theta_N [2, G, L, d] from pairs [2, G, L, K, d] and the normals of `Probe.directions`.

    `svd_difference`: both are the top right singular vector of the matrix of differences, personalized minus neutral.
    """
    if identification == "ccs":
        return normals
    if identification == "svd_difference":
        return top_direction(pairs[0] - pairs[1]).expand(2, -1, -1, -1)
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


@dataclass(frozen=True)
class _Search:
    """What `find_directions` is asked for."""

    source: Source
    identification: Identification
    ccs: CcsConfig
    seed: int
    num_layers: int
    given: Sequence[int] | None
    layer_choice: LayerChoice

    def of_groups(self, groups: slice) -> Directions:
        """Some groups, each of which chooses by itself: independent of all others."""
        part = self.source.part(groups, range(self.source.layers))
        probe = self._fit(part)
        chosen, ties = self._choose(probe.loss, lambda layers: self._margins(part.part(slice(None), layers)))
        union = sorted(set(chosen.flatten().tolist()))
        found = identify(part.pairs[:, :, union], probe.directions()[:, :, union], self.identification).cpu()
        places = torch.searchsorted(torch.tensor(union), chosen.contiguous())[..., None].expand(-1, -1, found.shape[-1])
        personal, neutral = (side.gather(1, places) for side in found)
        return Directions(chosen, personal, neutral, probe.loss.cpu(), ties)

    def of_all(self) -> Directions:
        """All groups edit the same layers: those with the lowest mean loss."""
        source, parts = self.source, list(self._parts(range(self.source.layers)))
        loss = torch.empty(len(source.counts), source.layers)
        for groups, layers in parts:
            probe = self._fit(source.part(groups, layers))
            loss[groups, layers[0] : layers[-1] + 1] = probe.loss.cpu()
        [chosen], ties = self._choose(loss.mean(dim=0, keepdim=True), self._mean_margins)
        # Where there are more parts than one, their normals are not kept but found again for a few layers.
        normals = probe.directions() if len(parts) == 1 else None
        both = [
            torch.cat([self._identified(groups, layer, normals) for groups in group_slices(source, 1)], dim=1)
            for layer in chosen.tolist()
        ]
        personal, neutral = torch.cat(both, dim=2)
        return Directions(chosen.expand(len(loss), -1), personal, neutral, loss, ties)

    def _identified(self, groups: slice, layer: int, normals: torch.Tensor | None) -> torch.Tensor:
        """theta_P and theta_N [2, g, 1, d] of some groups at one layer."""
        part = self.source.part(groups, [layer])
        own = self._fit(part).directions() if normals is None else normals[:, groups, layer : layer + 1]
        return identify(part.pairs, own, self.identification).cpu()

    def _parts(self, layers: Sequence[int]) -> Iterator[tuple[slice, Sequence[int]]]:
        """As many layers at once as fit into memory with all groups; one, and some groups, where not even one does."""
        source = self.source
        per_layer = 2 * len(source.counts) * int(source.counts.max()) * source.size
        step = max(1, _PART // per_layer)
        for start in range(0, len(layers), step):
            some = layers[start : start + step]
            for groups in group_slices(source, len(some)):
                yield groups, some

    def _fit(self, part: Grouped) -> Probe:
        return fit_ccs(part.pairs, part.mask, self.ccs, self.seed)

    def _margins(self, part: Grouped) -> torch.Tensor:
        return held_out_margin(part, self.ccs, self.seed).cpu()

    def _mean_margins(self, layers: Sequence[int]) -> torch.Tensor:
        total = torch.zeros(1, self.source.layers)
        for groups, some in self._parts(layers):
            total[0, list(some)] += self._margins(self.source.part(groups, some)).sum(dim=0)
        return total[:, list(layers)] / len(self.source.counts)

    def _choose(
        self, loss: torch.Tensor, margins_of: Callable[[Sequence[int]], torch.Tensor]
    ) -> tuple[torch.Tensor, float]:
        """Layers [n, l] by loss [n, L], rising, and how many tied; `margins_of` some layers gives theirs, held out."""
        loss, available = loss.cpu(), range(loss.shape[1])
        if self.given is not None:
            return torch.tensor(sorted(self.given)).expand(len(loss), -1), 0
        by_margin = self.layer_choice == "margin"
        tied = {layer for own in loss for layer in tied_layers(own, self.num_layers)}
        margins, compared = torch.zeros_like(loss), list(available) if by_margin else sorted(tied)
        if compared:
            margins[:, compared] = margins_of(compared)
        first, second = (-margins, -loss) if by_margin else (loss, margins)
        chosen = [choose_layers(low, high, self.num_layers) for low, high in zip(first, second, strict=True)]
        ties = [len(tied_layers(low, self.num_layers)) for low in first]
        return torch.tensor(chosen), sum(ties) / len(ties)
