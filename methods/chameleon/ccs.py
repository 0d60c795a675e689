"""Contrast-consistent search (Burns et al. 2023) as the paper's Appendix A.4 states it, many problems in one program.

Notation: `pairs` is [2, G, L, K, d], personalized then neutral representations of K pairs for each of G groups and L
layers; `mask` is [G, K], true where a group has a pair. Each group, layer and restart is a problem of its own: AdamW
works element by element, so solving many in one tensor changes nothing but the time. As many are solved together as
the caches of a processor hold; of a group too large for that, rows are normalized anew in every epoch, and not copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

_AT_ONCE = {"cpu": 2**21}  # numbers of one chunk: representations, weights, gradients and AdamW's two moments
_AT_ONCE_ELSEWHERE = 2**26
_FEWEST_ROWS = 128  # pairs of a block, however wide the model
_CONSTANT = 1e-5  # of a dimension's mean or of the layer's deviation: what float32 leaves of a constant is smaller


class CcsConfig(BaseModel):
    """`none` takes representations as they are (A.4 names no normalization).

    `joint` normalizes with mean and deviation over P and N together; `separate` each set with its own (Burns).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    restarts: int = Field(default=10, ge=1)
    epochs: int = Field(default=1000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    normalization: Literal["none", "joint", "separate"] = "joint"


@dataclass(frozen=True)
class Probe:
    """The best restart of each group and layer: weight [G, L, d], bias and loss [G, L], mean and scale [2, G, L, d].

    `scale` is infinite for a dimension that never varies: it can separate nothing, and the probe does not see it.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    loss: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def directions(self) -> torch.Tensor:
        """Normals of the hyperplane in raw space, w / sigma because w (x - mu) / sigma = (w / sigma) (x - mu).

        [2, G, L, d]: scaled for P and for N, which differ with `separate` normalization only.
        """
        return self.weight / self.scale

    def gaps(self, pairs: torch.Tensor) -> torch.Tensor:
        """g(P) - g(N) of each pair, [G, L, K], in [-1, 1]."""
        found = pairs.new_empty(pairs.shape[1:4])  # at once: small results between large blocks leave holes in the heap
        for block, gap in zip(pairs.split(_rows(pairs), dim=3), found.split(_rows(pairs), dim=2), strict=True):
            scaled = (block - self.mean[..., None, :]) / self.scale[..., None, :]
            logits = torch.einsum("sglkd,gld->sglk", scaled, self.weight) + self.bias[..., None]
            personal, neutral = torch.sigmoid(logits).unbind()
            torch.sub(personal, neutral, out=gap)
        return found

    def margin(self, pairs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """|mean of g(P) - g(N)| over masked pairs, in [0, 1], [G, L]; 0 for a group without pairs. CCS has no sign."""
        return masked_mean(self.gaps(pairs), mask[:, None]).abs()


def ccs_loss(personal: torch.Tensor, neutral: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L_CCS of A.4 from probabilities g(P), g(N) [..., K]: mean of (g(N) - (1 - g(P)))^2 + min(g(N), g(P)), [...]."""
    consistency = (neutral - (1 - personal)) ** 2
    confidence = torch.minimum(neutral, personal)
    return masked_mean(consistency + confidence, mask)


def fit_ccs(pairs: torch.Tensor, mask: torch.Tensor, config: CcsConfig, seed: int | Sequence[int]) -> Probe:
    """Minimize L_CCS from `restarts` random starts and keep the best of each group and layer.

    All groups and layers of one seed start from the same draws, so that no group's result depends on which others are
    present. `seed` may be one for each group.
    """
    groups, layers, count, size = pairs.shape[1:]
    seeds = [seed] * groups if isinstance(seed, int) else seed
    weight, bias = pairs.new_empty(groups, layers, size), pairs.new_empty(groups, layers)
    loss, mean = torch.empty_like(bias), pairs.new_empty(2, groups, layers, size)
    scale = torch.empty_like(mean)
    together = problems_at_once(count, size, config.restarts, pairs.device.type)
    for numbers in torch.arange(groups * layers, device=pairs.device).split(together):
        group, layer = numbers // layers, numbers % layers
        drawn = {own: _start(config.restarts, size, own) for own in {seeds[number] for number in group.tolist()}}
        start = torch.stack([drawn[seeds[number]] for number in group.tolist()]).to(pairs)
        solved = _Problems(pairs, mask, group, layer, config.normalization).solve(start, config)
        weight[group, layer], bias[group, layer], loss[group, layer] = solved.weight, solved.bias, solved.loss
        mean[:, group, layer], scale[:, group, layer] = solved.mean, solved.scale
    return Probe(weight, bias, loss, mean, scale)


def problems_at_once(pairs: int, size: int, restarts: int, device: str) -> int:
    """How many groups and layers of so many pairs are solved in one chunk."""
    numbers = 2 * pairs * size + 5 * restarts * size
    return max(1, _AT_ONCE.get(device, _AT_ONCE_ELSEWHERE) // numbers)


@dataclass(frozen=True)
class _Solution:
    """As `Probe`, with one axis of P problems in place of groups and layers."""

    weight: torch.Tensor
    bias: torch.Tensor
    loss: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor


class _Problems:
    """P problems of CCS: (group, layer) [P] each, of `pairs` [2, G, L, K, d]."""

    def __init__(
        self, pairs: torch.Tensor, mask: torch.Tensor, group: torch.Tensor, layer: torch.Tensor, normalization: str
    ) -> None:
        self.pairs, self.group, self.layer = pairs, group, layer
        self.mask = mask[group].to(pairs)
        self.count = self.mask.sum(dim=1).clamp(min=1)
        self.mean, self.scale = self._moments(normalization)
        blocks = -(-pairs.shape[3] // _rows(pairs))
        self.kept = list(self._normalized()) if blocks == 1 else None

    def solve(self, weight: torch.Tensor, config: CcsConfig) -> _Solution:
        """Minimize from the starts `weight` [P, R, d] and keep the best restart."""
        bias = weight.new_zeros(weight.shape[:2])
        optimizer = torch.optim.AdamW(
            [weight, bias], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        for _ in range(config.epochs):
            weight.grad, bias.grad = self._gradients(weight, bias)
            optimizer.step()
        loss, best = self._losses(weight, bias).min(dim=-1)
        chosen = weight.take_along_dim(best[:, None, None], dim=1)[:, 0]
        return _Solution(chosen, bias.take_along_dim(best[:, None], dim=1)[:, 0], loss, self.mean, self.scale)

    def _gradients(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the mean of (p + n - 1)^2 + min(p, n), where p and n are sigmoids; equal ones share that of the minimum.

        By hand: autograd would keep every block of a group until the last.
        """
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for x, mask in self._blocks():
            g = torch.baddbmm(bias[:, None], x, weight.mT).sigmoid_()  # [P, 2 * rows, R]
            personal, neutral = g.chunk(2, dim=1)
            consistency = (personal + neutral).sub_(1).mul_(2)
            smaller = torch.sign(neutral - personal).mul_(0.5).add_(0.5)
            share = (mask / self.count[:, None])[..., None]
            outer = torch.cat([consistency + smaller, consistency + 1 - smaller], dim=1)
            outer.mul_(share.repeat(1, 2, 1)).mul_(g).mul_(1 - g)
            by_weight.baddbmm_(outer.mT, x)
            by_bias += outer.sum(dim=1)
        return by_weight, by_bias

    def _losses(self, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """L_CCS of each problem and restart, [P, R]."""
        total = torch.zeros_like(bias)
        for x, mask in self._blocks():
            personal, neutral = torch.baddbmm(bias[:, None], x, weight.mT).sigmoid_().mT.chunk(2, dim=-1)
            mean = ccs_loss(personal, neutral, mask[:, None])
            total += mean * mask.sum(dim=1).clamp(min=1)[:, None] / self.count[:, None]
        return total

    def _blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(self.kept) if self.kept is not None else self._normalized()

    def _normalized(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Normalized rows, [P, 2 * rows, d], personalized ones first, and their mask [P, rows]."""
        for raw, mask in self._raw():
            x = (raw - self.mean[:, :, None]) / self.scale[:, :, None]
            yield x.transpose(0, 1).flatten(1, 2), mask

    def _raw(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = _rows(self.pairs)
        for start in range(0, self.pairs.shape[3], rows):
            stop = start + rows
            yield self.pairs[:, :, :, start:stop][:, self.group, self.layer], self.mask[:, start:stop]

    def _moments(self, normalization: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and scale, [2, P, d]."""
        sides = 1 if normalization == "separate" else 2

        def over_pairs(blocks: Iterator[torch.Tensor]) -> torch.Tensor:
            total = sum(blocks, start=self.pairs.new_zeros(2, len(self.group), self.pairs.shape[-1]))
            total = total if sides == 1 else total.sum(dim=0, keepdim=True).expand(2, -1, -1)
            return total / (sides * self.count[:, None])

        mean = over_pairs((raw * mask[..., None]).sum(dim=2) for raw, mask in self._raw())
        squares = (((raw - mean[:, :, None]) ** 2 * mask[..., None]).sum(dim=2) for raw, mask in self._raw())
        variance = over_pairs(squares)
        typical = variance.mean(dim=-1, keepdim=True).sqrt()
        varies = variance.sqrt() > _CONSTANT * torch.maximum(mean.abs(), typical)
        if normalization == "none":
            mean, variance = torch.zeros_like(mean), torch.ones_like(variance)
        return mean, variance.sqrt().masked_fill(~varies, torch.inf)


def _rows(pairs: torch.Tensor) -> int:
    """Pairs of a block: all that fit into a chunk."""
    numbers = _AT_ONCE.get(pairs.device.type, _AT_ONCE_ELSEWHERE)
    return max(_FEWEST_ROWS, numbers // (2 * pairs.shape[-1]))


def _start(restarts: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(restarts, size, generator=torch.Generator().manual_seed(seed)) / size**0.5


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the last axis where `mask` is true; 0 where it is nowhere."""
    return (values * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
