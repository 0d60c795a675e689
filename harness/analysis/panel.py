"""Several methods' answers to the same queries, compared in pairs: permutation tests, effect sizes, standard errors.

Users are the sample: all samples of a user are swapped, drawn or left out together, and the metric is recomputed whole.
What all pairs need, the random swaps above all, is made once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.comparison import ALPHA, Finding
from harness.analysis.refits import Spread
from harness.analysis.stats import TOLERANCE, Floats, Value, bootstrap, by_user

FIRST_LOOK = 10_000  # permutations of every test; after that only the small p values go on
STOP = 10  # hits after which a p value is as precise as it need be
_ROWS = (1_000, 200, 50, 10, 1)  # swaps made at a time, as many as memory allows; each divides a look
_ENTRIES = 4_000_000  # of swaps made at a time: 32 MB
_BLOCK = 250_000  # entries of a block of swapped means: 2 MB, which a processor's cache holds
_POWER = 0.8  # with which the smallest detectable difference is found

Pair = tuple[int, int]


@dataclass(frozen=True)
class PermutationP:
    """A two-sided p, and the smallest that the test could have given: it may be too large for any Holm correction."""

    p: float
    smallest: float


class Panel:
    """The methods' per-sample statistics, M arrays [n, S] on the same samples, and the user of each sample [n].

    `value` maps means [..., S] to values [...]. A pair (a, b) names two methods by index; its difference is a minus b.
    """

    def __init__(self, statistics: Sequence[Floats], users: NDArray[Any], value: Value) -> None:
        self.value = value
        grouped = [by_user(one, users) for one in statistics]
        self.counts = grouped[0][1]
        self.sums = np.stack([sums for sums, _ in grouped])  # [M, U, S]
        self.means = self.sums.sum(1) / self.counts.sum()  # [M, S]
        self.values = value(self.means)  # [M]

    def difference(self, pair: Pair) -> float:
        """value(mean a) - value(mean b)."""
        return float(self.values[pair[0]] - self.values[pair[1]])

    def effect_size(self, pair: Pair) -> float:
        """The difference in standard deviations of the users' contributions to it, signed as a minus b.

        The contributions are the pseudo-values of the jackknife that leaves out a user at a time (Efron & Tibshirani
        1993, section 11.5): for a mean and users with equally many samples this is Cohen's d_z of the per-user
        differences. nan for a single user and where no user contributes otherwise than another.
        """
        users = len(self.counts)
        if users < 2:
            return math.nan
        without = self._left_out[pair[0]] - self._left_out[pair[1]]
        deviation = float(np.sqrt((users - 1) * np.sum((without - without.mean()) ** 2)))
        return self.difference(pair) / deviation if deviation > TOLERANCE else math.nan

    def standard_error(self, pair: Pair) -> float:
        """Bootstrap standard error of the difference, over users; nan without any spread."""
        error = float((self._draws[pair[0]] - self._draws[pair[1]]).std(ddof=1))
        return error if error > TOLERANCE else math.nan

    def p_values(self, pairs: Sequence[Pair], permutations: int = FIRST_LOOK, seed: int = 0) -> list[PermutationP]:
        """Permutation tests of no difference: the labels of a pair are swapped for all samples of a user at once.

        All swaps of the users that the two methods answered differently are enumerated if they are no more than
        `permutations`. Otherwise random ones are drawn and p = (1 + hits) / (1 + drawn), which is never 0 (Phipson &
        Smyth 2010). At 10,000, 20,000, 40,000, ... permutations a test with 10 hits ends; the others go on to the last,
        `permutations` (Besag & Clifford 1991, with looks in place of a stop at a hit). Such a p is valid: if one is at
        most u, the test reached the first look where a stop gives at most u, and there had at most u (1 + drawn) - 1
        hits; under the null this has probability u at most, whatever else is tested, and Holm asks for no more.
        """
        found: list[PermutationP | None] = [self._exact(pair, permutations) for pair in pairs]
        rest = [number for number, p in enumerate(found) if p is None]
        for number, p in zip(rest, self._sampled([pairs[n] for n in rest], permutations, seed), strict=True):
            found[number] = p
        return [p for p in found if p is not None]

    @cached_property
    def _draws(self) -> Floats:
        """Each method's value [M, R] in the same resamples of users."""
        return np.stack([bootstrap(sums, self.counts, self.value) for sums in self.sums])

    @cached_property
    def _left_out(self) -> Floats:
        """Each method's value [M, U] without one user."""
        left = (self.counts.sum() - self.counts)[:, None]
        return np.stack([self.value((sums.sum(0) - sums) / left) for sums in self.sums])

    @cached_property
    def _varying(self) -> NDArray[np.bool_]:
        """The statistics [S] in which methods differ; counts of gold answers are the same for all."""
        return np.ptp(self.sums, axis=0).max(axis=0) > 0

    def _moved(self, pair: Pair) -> NDArray[np.bool_]:
        """The users [U] whom swapping the pair changes anything for."""
        return np.abs(self.sums[pair[1]] - self.sums[pair[0]]).max(axis=1) > TOLERANCE

    def _exact(self, pair: Pair, permutations: int) -> PermutationP | None:
        """The p over all swaps, or None if they are too many."""
        moved = self._moved(pair)
        users = int(moved.sum())
        if users > math.log2(permutations):
            return None
        gap = (self.sums[pair[1]] - self.sums[pair[0]])[moved] / self.counts.sum()
        pairs = np.array([pair])
        hits = sum(int(self._hits(pairs, (swaps @ gap)[None])[0]) for swaps in _all_swaps(users))
        return PermutationP(hits / 2**users, smallest_p(users, permutations))

    def _sampled(self, pairs: Sequence[Pair], permutations: int, seed: int) -> list[PermutationP]:
        chosen = np.array(pairs).reshape(-1, 2)
        hits, drawn = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
        going = np.arange(len(pairs))
        looks = _looks(permutations)
        rows = _rows(len(self.counts))
        for start in range(0, permutations, rows):
            if not len(going):
                break
            swaps = _swaps(seed, start, min(rows, permutations - start), len(self.counts))
            hits[going] += self._swapped(chosen[going], swaps)
            drawn[going] += len(swaps)
            if start + len(swaps) in looks:
                going = going[hits[going] < STOP]
        p = (1 + hits) / (1 + drawn)
        floors = [smallest_p(int(self._moved(pair).sum()), permutations) for pair in pairs]
        return [PermutationP(float(one), floor) for one, floor in zip(p, floors, strict=True)]

    def _swapped(self, pairs: NDArray[Any], swaps: Floats) -> NDArray[np.int64]:
        """Hits [P] of pairs [P, 2] among swaps [R, U], a product for every method rather than for every pair."""
        methods, place = np.unique(pairs, return_inverse=True)
        place = place.reshape(pairs.shape)
        moved = np.zeros((len(methods), len(swaps), self.sums.shape[-1]))
        moved[..., self._varying] = swaps @ (self.sums[methods][..., self._varying] / self.counts.sum())
        size = max(1, _BLOCK // moved[0].size)
        parts = [slice(first, first + size) for first in range(0, len(pairs), size)]
        return np.concatenate([self._hits(pairs[p], moved[place[p, 1]] - moved[place[p, 0]]) for p in parts])

    def _hits(self, pairs: NDArray[Any], shift: Floats) -> NDArray[np.int64]:
        """How many of the shifts [P, R, S] leave pairs [P, 2] at least as far apart as they are."""
        a, b = self.means[pairs[:, 0], None], self.means[pairs[:, 1], None]
        observed = np.abs(self.values[pairs[:, 0]] - self.values[pairs[:, 1]])[:, None]
        apart = np.abs(self.value(_settled(a + shift)) - self.value(_settled(b - shift)))
        return np.sum(~(apart < observed - TOLERANCE), axis=1)  # what is no number must not lower p


def _settled(means: Floats) -> Floats:
    """Means of 0 come out of sums and differences as 1e-17 or -1e-17, of which a metric may take the root."""
    means[np.abs(means) < TOLERANCE] = 0.0
    return means


def permutations_for(tests: int) -> int:
    """How many permutations a test may take that shares Holm with so many: its first step must be able to reject.

    The smallest p, times `tests`, is a fifth of ALPHA at most.
    """
    return max(FIRST_LOOK, math.ceil(5 * tests / ALPHA))


def smallest_p(users: int, permutations: int = FIRST_LOOK) -> float:
    """The smallest p that so many users whose answers differ allow: there are 2^users swaps, and two of them hit."""
    return max(2.0 ** (1 - users), 1 / (1 + permutations)) if users else 1.0


def minimum_detectable(spread: Spread, alpha: float) -> float:
    """The true difference that a two-sided test at `alpha` finds with 80% power, by a shifted Student's t."""
    return (spread.quantile(1 - alpha / 2) + spread.quantile(_POWER)) * spread.error


def users_needed(test: Finding, difference: float) -> int | None:
    """How many users would find a true difference of this size with 80% power; None where nothing can be said.

    Squared standard errors over users fall with their number, those over fits do not: where fits alone hide the
    difference, no number of users would find it. If these users should have found it and did not, they are too few for
    a standard error, or the difference is not of this size.
    """
    detectable, spread = test.minimum_detectable, test.spread
    if not detectable or not difference or detectable <= abs(difference):
        return None
    if spread is None or not spread.over_fits:
        return math.ceil(test.users * (detectable / difference) ** 2)
    found = _squared_errors(spread, difference)
    if found is None:
        return None
    alone = difference / minimum_detectable(spread.of_users, ALPHA / test.tests)
    wanted = min(found[1], (alone * spread.over_users) ** 2)
    # Below the lower end the few degrees of freedom of the fits weigh so much that more users find less.
    if not max(found[0], 0.0) < wanted < spread.over_users**2:
        return None
    return math.ceil(test.users * spread.over_users**2 / wanted)


def _squared_errors(spread: Spread, difference: float) -> tuple[float, float] | None:
    """Between which squared standard errors over users both errors together show the difference; None where at none.

    With x for the square over users and F for that over fits, the smallest detectable difference is
    (u x + f F) / sqrt(x + F), where u and f are those of a standard error of 1.
    """
    fits = spread.over_fits**2
    of_users = minimum_detectable(replace(spread.of_users, over_users=1.0), ALPHA)
    of_fits = minimum_detectable(replace(spread, over_users=0.0, over_fits=1.0), ALPHA)
    middle = difference**2 - 2 * of_users * of_fits * fits
    root = difference**2 * (difference**2 - 4 * of_users * fits * (of_fits - of_users))
    if root < 0:
        return None
    low, high = ((middle + sign * math.sqrt(root)) / (2 * of_users**2) for sign in (-1, 1))
    return low, high


def _looks(permutations: int) -> set[int]:
    return {FIRST_LOOK * 2**number for number in range(max(1, permutations // FIRST_LOOK).bit_length())}


def _rows(users: int) -> int:
    """Independent of the pairs, so that no other method in a run changes the p of two."""
    return next(rows for rows in _ROWS if rows * users <= _ENTRIES or rows == 1)


def _swaps(seed: int, start: int, rows: int, users: int) -> Floats:
    """Rows [rows, users] of 0 and 1, the same whoever asks."""
    drawn = np.random.default_rng((seed, start)).integers(0, 2, size=(rows, users), dtype=np.int8)
    return drawn.astype(np.float64)


def _all_swaps(users: int) -> Iterator[Floats]:
    for start in range(0, 2**users, _ROWS[0]):
        numbers = np.arange(start, min(start + _ROWS[0], 2**users))[:, None]
        yield (numbers >> np.arange(users) & 1).astype(np.float64)
