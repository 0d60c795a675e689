"""How long the directions will take, tried out on a few epochs of noise before anything else is done."""

from collections.abc import Callable

import torch

from harness.methods.chameleon.ccs import CcsConfig, fit_ccs, problems_at_once

_EPOCHS = 5
_PAIRS = (8, 64)
_TRIALS = 3  # of which the quickest counts: what else a machine does only adds
_MARGIN = 1.1  # for the decompositions, and for all that is not CCS


def seconds_by_pairs(
    layers: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> Callable[[float, int], float]:
    """How long `find_directions` will take, by the number of pairs (padding included) and of the groups they are in.

    CCS solves groups and layers in chunks of one size, so its time is so much for each group and layer, and so much for
    each of their pairs: a line through two chunks, timed for a few epochs. `elapsed` returns seconds. CCS counts
    twice, as a tie between layers needs a second fit.
    """
    few, many = _PAIRS
    _timed(few, 1, size, ccs, device, elapsed)  # the first call allocates and loads
    low, high = (_seconds(pairs, layers, size, ccs, device, elapsed) for pairs in _PAIRS)
    by_pair = max(0.0, high - low) / (many - few)
    by_group = max(0.0, low - by_pair * few)
    return lambda pairs, groups: _MARGIN * 2 * layers * (by_group * groups + by_pair * pairs)


def _seconds(
    pairs: int, layers: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> float:
    """Of CCS for one group and layer."""
    problems = min(layers, problems_at_once(pairs, size, ccs.restarts, device.type))
    trials = [_timed(pairs, problems, size, ccs, device, elapsed) for _ in range(_TRIALS)]
    once, longer = map(min, zip(*trials, strict=True))
    per_epoch = max(0.0, longer - once) / _EPOCHS  # what a fit costs beside its epochs is paid once
    return (once + per_epoch * (ccs.epochs - 1)) / problems


def _timed(
    pairs: int, problems: int, size: int, ccs: CcsConfig, device: torch.device, elapsed: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of one epoch, and of `_EPOCHS` more."""
    noise = torch.randn(2, 1, problems, pairs, size, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.ones(1, pairs, dtype=torch.bool, device=device)
    spans = []
    for epochs in (1, 1 + _EPOCHS):
        begun = elapsed()
        float(fit_ccs(noise, mask, ccs.model_copy(update={"epochs": epochs}), seed=0).loss.sum())
        spans.append(elapsed() - begun)
    return spans[0], spans[1]
