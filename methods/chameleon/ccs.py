"""Contrast-consistent search (Burns et al. 2023) as the paper's Appendix A.4 states it, many problems in one program.

Notation: `pairs` is [2, G, L, K, d], personalized then neutral representations of K pairs for each of G groups and L
layers; `mask` is [G, K], true where a group has a pair. Each group, layer and restart is a problem of its own: AdamW
works element by element, so solving them in one tensor changes nothing but the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

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
        scaled = (pairs - self.mean[..., None, :]) / self.scale[..., None, :]
        personal, neutral = torch.sigmoid(
            torch.einsum("sglkd,gld->sglk", scaled, self.weight) + self.bias[..., None]
        ).unbind()
        return personal - neutral

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
    mean, scale = _moments(pairs, mask, config.normalization)
    scaled = (pairs - mean[..., None, :]) / scale[..., None, :]
    groups, layers, size = pairs.shape[1], pairs.shape[2], pairs.shape[-1]
    seeds = [seed] * groups if isinstance(seed, int) else seed
    start = torch.stack([_start(config.restarts, size, own) for own in seeds]).to(pairs)
    weight = start[:, None].expand(-1, layers, -1, -1).clone().requires_grad_()
    bias = torch.zeros(groups, layers, config.restarts, device=pairs.device, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=config.learning_rate, weight_decay=config.weight_decay)
    with torch.enable_grad():
        for _ in range(config.epochs):
            optimizer.zero_grad()
            _losses(scaled, mask, weight, bias).sum().backward()
            optimizer.step()
    with torch.no_grad():
        loss, best = _losses(scaled, mask, weight, bias).min(dim=-1)
    chosen = weight.detach().take_along_dim(best[..., None, None], dim=2)[:, :, 0]
    return Probe(chosen, bias.detach().take_along_dim(best[..., None], dim=2)[..., 0], loss, mean, scale)


def _start(restarts: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(restarts, size, generator=torch.Generator().manual_seed(seed)) / size**0.5


def _losses(scaled: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    logits = torch.einsum("sglkd,glrd->sglrk", scaled, weight) + bias[..., None]
    personal, neutral = torch.sigmoid(logits).unbind()
    return ccs_loss(personal, neutral, mask[:, None, None])


def _moments(pairs: torch.Tensor, mask: torch.Tensor, normalization: str) -> tuple[torch.Tensor, torch.Tensor]:
    kept = mask[:, None, :, None]
    axes, sides = ((3,), 1) if normalization == "separate" else ((0, 3), 2)
    count = kept.sum(dim=-2, keepdim=True)[None] * sides
    mean = (pairs * kept).sum(dim=axes, keepdim=True) / count.clamp(min=1)
    variance = (((pairs - mean) ** 2) * kept).sum(dim=axes, keepdim=True) / count.clamp(min=1)
    typical = variance.mean(dim=-1, keepdim=True).sqrt()
    varies = variance.sqrt() > _CONSTANT * torch.maximum(mean.abs(), typical)
    if normalization == "none":
        mean, variance = torch.zeros_like(mean), torch.ones_like(variance)
    shape = (2, *pairs.shape[1:3], pairs.shape[-1])
    scale = variance.sqrt().masked_fill(~varies, torch.inf)
    return mean.squeeze(3).expand(shape), scale.squeeze(3).expand(shape)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the last axis where `mask` is true; 0 where it is nowhere."""
    return (values * mask).sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
