"""Edits with something else in place of the directions that were found."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.api import Edits, FitContext
from harness.methods.caa import Caa, Differences
from harness.methods.chameleon.directions import Directions, Source, group_slices
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.steering import Steering

_BISECTIONS = 60


class RandomDirectionConfig(ChameleonConfig):
    """`principal` draws inside the span of the pairs' first `components` singular vectors, where directions matter."""

    subspace: Literal["full", "principal"] = "full"
    components: int = Field(default=8, ge=1)


class RandomDirection(Chameleon):
    """Chameleon with random directions in place of those found, in the same layers.

    A projection does not depend on its direction's norm, so the strength is set such that the mean ||dx|| over the
    pairs' representations is, group by group and layer by layer, that of the edit replaced. At other tokens it is
    larger (docs/where-to-edit.md has by how much): the directions replaced were fitted to these.
    """

    Config = RandomDirectionConfig
    control_of = "chameleon"

    def _banks(self, context: FitContext, source: Source, found: Directions) -> Edits:
        fitted, generator = super()._banks(context, source, found), torch.Generator().manual_seed(context.seed)
        parts = []
        for groups in group_slices(source, len(found.layers)):
            edited = source.part(groups, found.layers)
            pairs = found.at_chosen(edited.pairs.cpu().movedim(0, 2), groups).movedim(2, 0)
            parts.append(self._equal_in_size(_banks_of(fitted, groups), pairs, edited.mask.cpu(), generator))
        banks: dict[str, Any] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return replace(fitted, **banks)

    def _equal_in_size(
        self, fitted: Edits, pairs: Tensor, mask: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The banks, by name, that take the place of those of some groups."""
        sides = [side for side in ("personal", "neutral") if getattr(fitted, side) is not None]
        drawn: dict[str, Any] = {side: self._draw(pairs, generator) for side in sides}
        edits = replace(fitted, **drawn)
        own = torch.ones(pairs.shape[1:3]) if fitted.strength is None else fitted.strength
        target = mean_change(pairs, mask, fitted, own)
        return drawn | {"strength": _solve(lambda strength: mean_change(pairs, mask, edits, strength), target)}

    def _draw(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """[G, l, d] from pairs [2, G, l, K, d]."""
        if self.config.subspace == "full":
            return torch.randn(*pairs.shape[1:3], pairs.shape[-1], generator=generator)
        found = torch.linalg.svd(torch.cat(list(pairs), dim=-2), full_matrices=False)
        span, sizes = found.Vh[..., : self.config.components, :], found.S[..., : self.config.components, None]
        weights = torch.randn(*span.shape[:-1], 1, generator=generator)
        spanned = sizes > 1e-5 * sizes[..., :1, :]  # a group of fewer pairs than that has no more of its own
        return (weights * spanned * span).sum(dim=-2)


class MeanDifferenceConfig(ChameleonConfig):
    """`strength` multiplies the offset, which is all of the edit: other settings of the edit have no place here."""

    edit: Literal["both"] = "both"
    bounded: Literal[False] = False
    identification: Literal["hybrid"] = "hybrid"


class MeanDifference(Chameleon):
    """Adds mean(P) - mean(N) at the layers that Chameleon would edit, as contrastive activation addition does."""

    Config = MeanDifferenceConfig
    control_of = "chameleon"

    def _banks(self, context: FitContext, source: Source, found: Directions) -> Edits:
        slices = group_slices(source, len(found.layers))
        sums = [source.part(groups, found.layers).pairs.sum(dim=-2).cpu() for groups in slices]
        personal, neutral = (torch.cat(sums, dim=1) / source.counts.cpu()[:, None, None]).unbind()
        offset = self.config.strength * found.at_chosen(personal - neutral)
        return Edits(found.layers, (), offset=offset, places=found.places)


class RandomOffset(Caa):
    """CAA with a random vector of the same length in place of the one found, layer by layer."""

    control_of = "caa"

    def _steering(self, context: FitContext, layers: tuple[int, ...], parts: Sequence[Differences]) -> Steering:
        fitted = super()._steering(context, layers, parts)
        if fitted.banks is None or (found := fitted.banks.offset) is None:
            return fitted
        drawn = torch.randn(found.shape, generator=torch.Generator().manual_seed(context.seed))
        offset = found.norm(dim=-1, keepdim=True) * torch.nn.functional.normalize(drawn, dim=-1)
        return replace(fitted, banks=replace(fitted.banks, offset=offset))


def _banks_of(edits: Edits, groups: slice) -> Edits:
    banks = {name: getattr(edits, name) for name in ("personal", "neutral", "strength")}
    return replace(edits, **{name: bank[groups] for name, bank in banks.items() if bank is not None})


def mean_change(pairs: Tensor, mask: Tensor, banks: Edits, strength: Tensor) -> Tensor:
    """Mean ||dx|| [G, l] of edits, offsets apart, of representations [2, G, l, K, d].

    `mask` is [G, K], `strength` [G, l].
    """
    scale, x = strength[..., None, None], pairs
    if banks.personal is not None:
        x = x + scale * _part(x, banks.personal, banks.bounded)
    if banks.neutral is not None:
        x = x - scale * _part(x, banks.neutral)
    kept = mask[None, :, None]
    return ((x - pairs).norm(dim=-1) * kept).sum(dim=(0, 3)) / (2 * kept.sum(dim=(0, 3)))


def _part(x: Tensor, direction: Tensor, bounded: bool = False) -> Tensor:
    """The projection on a direction, at its tanh if `bounded`."""
    unit = torch.nn.functional.normalize(direction, dim=-1)[..., None, :]
    size = (x * unit).sum(dim=-1, keepdim=True)
    return (size.tanh() if bounded else size) * unit


def _solve(change: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """The strength at which `change` reaches `target`, element by element."""
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(_BISECTIONS):
        high = torch.where(change(high) < target, 2 * high, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        short = change(middle) < target
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2
