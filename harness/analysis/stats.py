"""Intervals and tests that respect users: all of a user's queries are drawn, or swapped, together.

Every function takes per-sample statistics [n, S], the user of each sample [n], and the metric's `value`, which maps
means [..., S] to values [...]. F1 and RMSE are thus recomputed whole in every resample, never averaged over users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]
Draw = Callable[[np.random.Generator, int, int], NDArray[Any]]

_BLOCK = 4_000_000  # entries of one block of a resampling matrix: 32 MB
_TOLERANCE = 1e-10  # two values closer than this differ by rounding only


@dataclass(frozen=True)
class Test:
    """A paired test: `difference` is a minus b, `p` two-sided, `users` how many users were compared."""

    __test__ = False  # for pytest, which collects by name

    difference: float
    p: float
    users: int


def interval(
    statistics: Floats,
    users: NDArray[Any],
    value: Value,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """BCa bootstrap interval over users (Efron 1987) of `value` of the mean of `statistics` [n, S].

    The correction matters for macro-F1: resamples lose rare labels, so theirs runs low. (nan, nan) for a single user.
    """
    from scipy.special import ndtr, ndtri

    sums, counts = _by_user(statistics, users)
    if len(counts) < 2:
        return float("nan"), float("nan")
    estimate = value(sums.sum(0) / counts.sum())
    draws = _bootstrap([sums], counts, lambda mean: value(mean), resamples, seed)
    tail = (1 - confidence) / 2
    below = (np.mean(draws < estimate - _TOLERANCE) + np.mean(draws <= estimate + _TOLERANCE)) / 2
    levels = np.array([tail, 1 - tail])
    if 0 < below < 1:
        without = value((sums.sum(0) - sums) / (counts.sum() - counts)[:, None])
        levels = ndtr(_shift(ndtri(levels), float(ndtri(below)), _acceleration(without)))
    low, high = np.quantile(draws, levels)
    return float(low), float(high)


def paired_test(
    a: Floats, b: Floats, users: NDArray[Any], value: Value, permutations: int = 10_000, seed: int = 0
) -> Test:
    """Permutation test of value(mean a) = value(mean b), for a, b [n, S] on the same samples.

    The labels a and b are swapped for all samples of a user at once. All 2^users swaps are enumerated when they are no
    more than `permutations`; otherwise p = (1 + hits) / (1 + permutations), which is never 0 (Phipson & Smyth 2010).
    """
    (sums_a, counts), (sums_b, _) = _by_user(a, users), _by_user(b, users)
    total = counts.sum()
    gap = sums_b - sums_a
    moved = gap[np.abs(gap).max(axis=1) > _TOLERANCE]  # swapping the others changes nothing
    all_a, all_b = sums_a.sum(0), sums_b.sum(0)
    observed = float(value(all_a / total) - value(all_b / total))
    exact = 2 ** len(moved) <= permutations
    hits = 0
    for swaps in _all_swaps(len(moved)) if exact else _random(_swaps, permutations, len(moved), seed):
        shift = swaps @ moved
        differences = value((all_a + shift) / total) - value((all_b - shift) / total)
        hits += int(np.sum(np.abs(differences) >= abs(observed) - _TOLERANCE))
    p = hits / 2 ** len(moved) if exact else (1 + hits) / (1 + permutations)
    return Test(observed, p, len(counts))


def effect_size(a: Floats, b: Floats, users: NDArray[Any], value: Value) -> float:
    """value(mean a) - value(mean b) in standard deviations of the users' contributions to it, signed as a minus b.

    The contributions are the pseudo-values of the jackknife that leaves out a user at a time (Efron & Tibshirani 1993,
    section 11.5): for a mean and users with equally many samples this is Cohen's d_z of the per-user differences. nan
    for a single user and where no user contributes otherwise than another.
    """
    (sums_a, counts), (sums_b, _) = _by_user(a, users), _by_user(b, users)
    if len(counts) < 2:
        return float("nan")
    total, left = counts.sum(), (counts.sum() - counts)[:, None]
    difference = float(value(sums_a.sum(0) / total) - value(sums_b.sum(0) / total))
    without = value((sums_a.sum(0) - sums_a) / left) - value((sums_b.sum(0) - sums_b) / left)
    deviation = float(np.sqrt((len(counts) - 1) * np.sum((without - without.mean()) ** 2)))
    return difference / deviation if deviation > _TOLERANCE else float("nan")


def smallest_p(users: int, permutations: int = 10_000) -> float:
    """The smallest p that `paired_test` can give with this many users: a sample may be too small to tell anything."""
    return max(2.0 ** (1 - users), 1 / (1 + permutations)) if users else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def minimum_detectable_difference(
    a: Floats,
    b: Floats,
    users: NDArray[Any],
    value: Value,
    power: float = 0.8,
    alpha: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> float:
    """The true difference that a two-sided test at `alpha` would find with probability `power` on such a sample.

    From the bootstrap standard error, over users, of value(mean a) - value(mean b). nan where there is no spread to
    judge by: a single user, or no user with a difference.
    """
    from scipy.special import ndtri

    (sums_a, counts), (sums_b, _) = _by_user(a, users), _by_user(b, users)
    if len(counts) < 2:
        return float("nan")
    draws = _bootstrap([sums_a, sums_b], counts, lambda x, y: value(x) - value(y), resamples, seed)
    error = float(draws.std(ddof=1))
    return float(ndtri(1 - alpha / 2) + ndtri(power)) * error if error > _TOLERANCE else float("nan")


def per_user(statistics: Floats, users: NDArray[Any], value: Value) -> tuple[NDArray[Any], Floats]:
    """(user ids [U], sorted; the metric of each user's own samples [U])."""
    sums, counts = _by_user(statistics, users)
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
    return np.where(np.abs(gain) > _TOLERANCE, gain, 0.0)


def _by_user(statistics: Floats, users: NDArray[Any]) -> tuple[Floats, Floats]:
    """Sums [U, S] and counts [U] of each user's samples."""
    ids, index = np.unique(users, return_inverse=True)
    sums = np.zeros((len(ids), statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums, np.bincount(index, minlength=len(ids)).astype(np.float64)


def _bootstrap(
    sums: Sequence[Floats], counts: Floats, statistic: Callable[..., Floats], resamples: int, seed: int
) -> Floats:
    """`statistic` of the means [R, S] of each array of sums, over resamples of users drawn with replacement: [R]."""
    blocks = []
    for weights in _random(_weights, resamples, len(counts), seed):
        drawn = (weights @ counts)[:, None]
        blocks.append(statistic(*(weights @ array / drawn for array in sums)))
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


def _all_swaps(users: int) -> Iterator[Floats]:
    numbers = np.arange(2**users)[:, None]
    yield (numbers >> np.arange(users) & 1).astype(np.float64)


def _swaps(rng: np.random.Generator, rows: int, users: int) -> NDArray[np.int8]:
    return rng.integers(0, 2, size=(rows, users), dtype=np.int8)


def _weights(rng: np.random.Generator, rows: int, users: int) -> NDArray[np.int64]:
    """How often each user is drawn, in `rows` draws of as many users as there are, with replacement."""
    return rng.multinomial(users, np.full(users, 1 / users), size=rows)


def _random(draw: Draw, rows: int, users: int, seed: int) -> Iterator[Floats]:
    """Blocks of a random matrix [rows, users]. A single block is kept, since all pairs of methods need the same."""
    sizes = list(_blocks(rows, users))
    rng = np.random.default_rng(seed)
    for size in sizes:
        block = _kept(draw, rows, users, seed)() if len(sizes) == 1 else draw(rng, size, users)
        yield block.astype(np.float64)


@lru_cache(maxsize=256)
def _kept(draw: Draw, rows: int, users: int, seed: int) -> Callable[[], NDArray[Any]]:
    """Unpacks the matrix, which is kept at a bit for each swap and two bytes for each weight: 8 MB at most."""
    drawn = draw(np.random.default_rng(seed), rows, users)
    if draw is _swaps:
        bits = np.packbits(drawn, axis=1)
        return lambda: np.unpackbits(bits, axis=1, count=users)
    small = drawn.astype(np.uint16)
    return lambda: small
