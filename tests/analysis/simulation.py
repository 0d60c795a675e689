"""How often the tests and intervals of `harness.analysis` err, measured on made-up users.

A user has one to five queries, whose scores share the user's own level; under the null, two methods differ by noise
only, some of it shared by all of a user's queries. Where a method is fitted several times, a fit moves all users
alike. Run as a script, it prints the figures of docs/statistics.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import stats
from harness.analysis.paired_tests import paired
from harness.analysis.panel import Panel
from harness.analysis.preference_likelihood import Mean
from harness.analysis.scores import Scores, pool
from harness.tasks.metrics import macro_f1

USERS = 100
MEAN = Mean("mean", higher_is_better=True)
LABELS = tuple(f"tag {index}" for index in range(15))
F1 = macro_f1(LABELS)
SHARES = np.array([0.8**index for index in range(15)]) / sum(0.8**index for index in range(15))  # of the gold labels
SKILL = 0.6  # mean share of right answers, that of the odds in `_right`

_STATISTICS = np.array([[F1.statistics(prediction, gold) for gold in LABELS] for prediction in LABELS])


def mean(means: stats.Floats) -> stats.Floats:
    """Accuracy, MAE, ROUGE."""
    return means[..., 0]


def root(means: stats.Floats) -> stats.Floats:
    """RMSE."""
    return np.sqrt(means[..., 0])


@dataclass(frozen=True)
class Sample:
    """Statistics of two equally good methods, [n, S] each, on the same queries of `users` [n]."""

    a: stats.Floats
    b: stats.Floats
    users: NDArray[Any]


Draw = Callable[[np.random.Generator], Sample]


def ratings(rng: np.random.Generator) -> Sample:
    """Absolute errors: a user's difficulty, what each method makes of the user, and noise of each answer."""
    users = _users(rng)
    difficulty, own = rng.normal(size=(1, USERS)), 0.7 * rng.normal(size=(2, USERS))
    errors = np.abs((difficulty + own)[:, users] + 0.7 * rng.normal(size=(2, len(users))))
    return Sample(errors[0][:, None], errors[1][:, None], users)


def squares(rng: np.random.Generator) -> Sample:
    """The squares of `ratings`, which RMSE takes the root of."""
    errors = ratings(rng)
    return Sample(errors.a**2, errors.b**2, errors.users)


def answers(rng: np.random.Generator) -> Sample:
    """Right or wrong, with the user's and the method's own odds."""
    users = _users(rng)
    right = _right(rng, users)
    return Sample(right[0][:, None].astype(float), right[1][:, None].astype(float), users)


def labels(rng: np.random.Generator) -> Sample:
    """Macro-F1's counts over 15 labels of unequal frequency; a wrong answer is any label, by its frequency."""
    users = _users(rng)
    gold = rng.choice(15, p=SHARES, size=len(users))
    predicted = np.where(_right(rng, users), gold, rng.choice(15, p=SHARES, size=(2, len(users))))
    return Sample(_STATISTICS[predicted[0], gold], _STATISTICS[predicted[1], gold], users)


def type_one_error(
    draw: Draw, value: stats.Value, draws: int, permutations: int = 999, clustered: bool = True
) -> float:
    """Share of null samples on which the paired test is significant at 0.05; unless clustered, users are ignored."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(draws):
        sample = draw(rng)
        users = sample.users if clustered else np.arange(len(sample.users))
        panel = Panel([sample.a, sample.b], users, value)
        rejected += panel.p_values([(0, 1)], permutations)[0].p < 0.05
    return rejected / draws


def coverage(draw: Draw, value: stats.Value, truth: float, draws: int, resamples: int = 1000) -> tuple[float, float]:
    """(share of samples whose 95% interval holds the truth, mean width of the intervals)."""
    rng = np.random.default_rng(1)
    bounds = []
    for _ in range(draws):
        sample = draw(rng)
        bounds.append(stats.interval(sample.a, sample.users, value, resamples=resamples))
    low, high = np.array(bounds).T
    return float(np.mean((low <= truth) & (truth <= high))), float(np.mean(high - low))


def scores(values: stats.Floats, queries: NDArray[Any] | None = None) -> Scores:
    """A number [n] for one query of each of n users."""
    ids = np.arange(len(values)).astype(str) if queries is None else queries
    return Scores(ids, ids, {MEAN.name: values[:, None]})


def refits(
    rng: np.random.Generator, fits: int, luck: float, gain: float = 0.0, own: float = 0.5
) -> tuple[dict[int, Scores], dict[int, Scores]]:
    """`fits` fits of a method, better by `gain` on average, and a baseline without randomness, one query a user.

    A fit moves all users by `luck` standard deviations of what a user makes of the method, each user again by `own`.
    """
    level, taste = rng.normal(size=(2, USERS))
    moved = [luck * rng.normal() + own * rng.normal(size=USERS) for _ in range(fits)]
    method = {seed: scores(level + taste + gain + one) for seed, one in enumerate(moved)}
    return method, dict.fromkeys(range(fits), scores(level))


def refit_errors(draws: int, fits: int, luck: float = 0.3, gain: float = 0.0) -> tuple[float, float]:
    """Shares of such samples that are significant at 0.05 (over users alone, over users and fits too)."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(draws):
        method, baseline = (pool(own) for own in refits(rng, fits, luck, gain))
        found = paired(method, baseline, MEAN, 1)
        assert found is not None
        p.append((found.p, max(found.p, found.p_fits or 0.0)))
    alone, both = np.mean(np.array(p) < 0.05, axis=0)
    return float(alone), float(both)


def true_mae() -> float:
    """E|X| of the centred normal X of `ratings`."""
    return float(np.sqrt(2 / np.pi) * true_rmse())


def true_rmse() -> float:
    """The root of E[X^2], the sum of the variances in `ratings`."""
    return float(np.sqrt(1 + 2 * 0.7**2))


def true_macro_f1() -> float:
    """Macro-F1 of the expected counts: P(right, label), P(predicted label) and P(gold label)."""
    hits = SHARES * (SKILL + (1 - SKILL) * SHARES)
    return float(F1.value(np.concatenate([hits, SHARES, SHARES])))


def _users(rng: np.random.Generator) -> NDArray[Any]:
    return np.repeat(np.arange(USERS), rng.integers(1, 6, size=USERS))


def _right(rng: np.random.Generator, users: NDArray[Any]) -> NDArray[np.bool_]:
    """[2, n]: two methods' answers; the odds are half the user's, half the method's with the user."""
    shared, own = rng.beta(0.3, 0.2, size=(1, USERS)), rng.beta(0.3, 0.2, size=(2, USERS))
    return rng.random((2, len(users))) < ((shared + own) / 2)[:, users]


def main() -> None:
    """Print the figures of docs/statistics.md, from as many samples as the command line says."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for name, draw, value in (
        *(("accuracy", answers, mean), ("MAE", ratings, mean)),
        *(("RMSE", squares, root), ("macro-F1", labels, F1.value)),
    ):
        begun = time.perf_counter()
        found, ignoring = (type_one_error(draw, value, draws, clustered=clustered) for clustered in (True, False))
        print(f"type-I error, {name}: {found:.3f}; users ignored: {ignoring:.3f} ({time.perf_counter() - begun:.0f} s)")
    for name, draw, value, truth in (
        *(("accuracy", answers, mean, SKILL), ("MAE", ratings, mean, true_mae())),
        *(("RMSE", squares, root, true_rmse()), ("macro-F1", labels, F1.value, true_macro_f1())),
    ):
        begun = time.perf_counter()
        covered, width = coverage(draw, value, truth, draws)
        spent = time.perf_counter() - begun
        print(f"coverage, {name}: {covered:.3f}, mean width {width:.3f}, truth {truth:.3f} ({spent:.0f} s)")
    for luck, gain in ((0.1, 0.0), (0.3, 0.0), (1.0, 0.0), (0.1, 0.3), (0.3, 0.3)):
        for fits in (2, 3, 5, 10):
            alone, both = refit_errors(draws, fits, luck, gain)
            print(f"{fits} fits, luck {luck}, gain {gain}: found over users {alone:.3f}, over fits too {both:.3f}")


if __name__ == "__main__":
    main()
