"""How long the directions will take, tried out on a few epochs of noise before anything else is done."""

from collections.abc import Callable
from math import ceil

import torch

from harness.methods.chameleon.ccs import CcsConfig, fit_ccs, problems_at_once

_PAIRS = (8, 64)
_EPOCHS = 24  # a few milliseconds would tell who else had the processor then, not how much of it is left
_TRIALS = 2  # of a single epoch, the quickest of which counts
_MARGIN = 1.1  # for the decompositions, and for all that is not CCS


def seconds_by_pairs(
    layers: int, groups: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> Callable[[float, int], float]:
    """How long `find_directions` will take, by the number of pairs (padding included) and of the groups they are in.

    CCS solves groups and layers in chunks of one size, so its time is so much for each chunk, for each group and layer,
    and for each of their pairs. Three chunks tell: of one, of as many as there can be with `groups` groups, and of as
    many with more pairs. `elapsed` returns seconds. CCS counts twice, as a tie between layers needs a second fit.
    """

    def chunk(pairs: int, most: int) -> tuple[int, float]:
        problems = min(most, problems_at_once(pairs, size, ccs.restarts, device.type))
        return problems, _seconds(pairs, problems, size, ccs, device, elapsed)

    few, many = _PAIRS
    _timed(1, few, 1, size, ccs, device, elapsed)  # the first call allocates and loads
    _, alone = chunk(few, 1)
    most, low = chunk(few, layers * groups)
    larger, high = chunk(many, layers * groups)
    by_problem = max(0.0, low - alone) / (most - 1) if most > 1 else low
    by_chunk = max(0.0, low - by_problem * most)
    by_pair = max(0.0, (high - by_chunk) / larger - by_problem) / (many - few)
    by_group = max(0.0, by_problem - by_pair * few)

    def seconds(pairs: float, groups: int) -> float:
        chunks = ceil(layers * groups / most)
        return _MARGIN * 2 * (by_chunk * chunks + layers * (by_group * groups + by_pair * pairs))

    return seconds


def _seconds(
    pairs: int, problems: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> float:
    """Of CCS for one chunk."""
    once = min(_timed(1, pairs, problems, size, ccs, device, elapsed) for _ in range(_TRIALS))
    longer = _timed(1 + _EPOCHS, pairs, problems, size, ccs, device, elapsed)
    per_epoch = max(0.0, longer - once) / _EPOCHS  # what a fit costs beside its epochs is paid once
    return once + per_epoch * (ccs.epochs - 1)


def _timed(
    epochs: int,
    pairs: int,
    problems: int,
    size: int,
    ccs: CcsConfig,
    device: torch.device,
    elapsed: Callable[[], float],
) -> float:
    noise = torch.randn(2, 1, problems, pairs, size, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.ones(1, pairs, dtype=torch.bool, device=device)
    begun = elapsed()
    float(fit_ccs(noise, mask, ccs.model_copy(update={"epochs": epochs}), seed=0).loss.sum())
    return elapsed() - begun
