"""Intervals and per-user figures that respect users: all of a user's queries are drawn together.

Every function takes per-sample statistics [n, S], the user of each sample [n], and the metric's `value`, which maps
means [..., S] to values [...]. F1 and RMSE are thus recomputed whole in every resample, never averaged over users.
Methods are compared in `panel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]

_BLOCK = 4_000_000  # entries of one block of a resampling matrix: 32 MB
_SEED = 0  # the same resamples of users for all methods and metrics
_CONFIDENCE = 0.95
TOLERANCE = 1e-10  # two values closer than this differ by rounding only


def interval(statistics: Floats, users: NDArray[Any], value: Value, resamples: int = 2000) -> tuple[float, float]:
    """95% BCa bootstrap interval over users (Efron 1987) of `value` of the mean of `statistics` [n, S].

    The correction matters for macro-F1: resamples lose rare labels, so theirs runs low. (nan, nan) for a single user.
    """
    from scipy.special import ndtr, ndtri

    sums, counts = by_user(statistics, users)
    if len(counts) < 2:
        return float("nan"), float("nan")
    estimate = value(sums.sum(0) / counts.sum())
    draws = bootstrap(sums, counts, value, resamples)
    tail = (1 - _CONFIDENCE) / 2
    below = (np.mean(draws < estimate - TOLERANCE) + np.mean(draws <= estimate + TOLERANCE)) / 2
    levels = np.array([tail, 1 - tail])
    if 0 < below < 1:
        without = value((sums.sum(0) - sums) / (counts.sum() - counts)[:, None])
        levels = ndtr(_shift(ndtri(levels), float(ndtri(below)), _acceleration(without)))
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    # statsmodels' collects garbage at every call, which takes a second where much is loaded.
    found = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    steps = found[order] * np.arange(len(found), 0, -1)
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def per_user(statistics: Floats, users: NDArray[Any], value: Value) -> tuple[NDArray[Any], Floats]:
    """(user ids [U], sorted; the metric of each user's own samples [U])."""
    sums, counts = by_user(statistics, users)
    return np.unique(users), value(sums / counts[:, None])


def quartiles(values: Floats) -> tuple[float, float, float, float, float]:
    """Least, lower quartile, median, upper quartile and greatest of per-user values [U]."""
    low, lower, median, upper, high = (float(value) for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
    return low, lower, median, upper, high


def worst_decile(values: Floats, higher_is_better: bool) -> float:
    """Mean over the worst tenth of per-user values [U], one user at least."""
    ordered = np.sort(values) if higher_is_better else -np.sort(-values)
    return float(ordered[: -(-len(values) // 10)].mean())


def gains(values: Floats, baseline: Floats, higher_is_better: bool) -> Floats:
    """How much better each user's value [U] is than the baseline's for the same user; negative where it is worse."""
    gain = (values - baseline) * (1 if higher_is_better else -1)
    return np.where(np.abs(gain) > TOLERANCE, gain, 0.0)


def by_user(statistics: Floats, users: NDArray[Any]) -> tuple[Floats, Floats]:
    """Sums [U, S] and counts [U] of each user's samples."""
    ids, index = np.unique(users, return_inverse=True)
    sums = np.zeros((len(ids), statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums, np.bincount(index, minlength=len(ids)).astype(np.float64)


def bootstrap(sums: Floats, counts: Floats, value: Value, resamples: int = 2000) -> Floats:
    """`value` of the means of sums [U, S] over counts [U], in resamples of users drawn with replacement: [R]."""
    blocks = []
    for weights in _random_weights(resamples, len(counts)):
        drawn = (weights @ counts)[:, None]
        blocks.append(value(weights @ sums / drawn))
    return np.concatenate(blocks)


def _shift(z: Floats, bias: float, acceleration: float) -> Floats:
    return bias + (bias + z) / (1 - acceleration * (bias + z))


def _acceleration(jackknife: Floats) -> float:
    spread = jackknife.mean() - jackknife
    scale = float(np.sum(spread**2)) ** 1.5
    return float(np.sum(spread**3)) / (6 * scale) if scale > 0 else 0.0


def _blocks(rows: int, columns: int) -> Iterator[int]:
    """Row counts that add up to `rows`, each for a block of bounded memory."""
    size = max(1, _BLOCK // max(1, columns))
    for start in range(0, rows, size):
        yield min(size, rows - start)


def _weights(rng: np.random.Generator, rows: int, users: int) -> NDArray[np.int64]:
    """How often each user is drawn, in `rows` draws of as many users as there are, with replacement."""
    return rng.multinomial(users, np.full(users, 1 / users), size=rows)


def _random_weights(rows: int, users: int) -> Iterator[Floats]:
    """Blocks of `_weights`. A single block is kept, since all methods and metrics need the same."""
    sizes = list(_blocks(rows, users))
    rng = np.random.default_rng(_SEED)
    for size in sizes:
        block = _kept(rows, users) if len(sizes) == 1 else _weights(rng, size, users)
        yield block.astype(np.float64)


@lru_cache(maxsize=64)
def _kept(rows: int, users: int) -> NDArray[np.uint16]:
    """The matrix at two bytes an entry: 8 MB at most."""
    return _weights(np.random.default_rng(_SEED), rows, users).astype(np.uint16)
