"""How often verdicts err: claims that are true as the paper reports them, or false, judged on made-up users.

A claim says that one method beats others. Where it is true, every comparison behind it has exactly the reported
difference, which the sample finds with 80% power at the first step of Holm (as means: of RMSE the power is whatever
comes with that). Run as a script, it prints the figures of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from harness.analysis.comparison import ALPHA
from harness.analysis.panel import Panel, minimum_detectable
from harness.analysis.refits import Spread
from harness.reproduction.claims import combined, decide
from harness.reproduction.result import ClaimTest

USERS = 100
PERMUTATIONS = 2_000
METRICS = (("mae", lambda means: means[..., 0]), ("rmse", lambda means: np.sqrt(means[..., 1])))
_LEVEL, _OWN, _NOISE = 1.0, 0.35, 0.5  # deviations of a user's difficulty, of a method's with the user, of an answer


@dataclass(frozen=True)
class Setting:
    """A claim over tasks, metrics and other methods, their product being its comparisons."""

    tasks: int
    metrics: int
    others: int

    @property
    def comparisons(self) -> int:
        return self.tasks * self.metrics * self.others


@dataclass(frozen=True)
class Few:
    """Users most of whom score the same: a share is better by `gain`, another worse by `loss`."""

    users: int
    better: float
    gain: float
    worse: float
    loss: float

    @property
    def mean(self) -> float:
        return self.better * self.gain - self.worse * self.loss


FEW = (
    Few(30, 0.04, 4, 0.04, 2),
    Few(100, 0.0225, 4, 0.02, 0.5),
    Few(100, 0.06, 4, 0.1, 0.2),
    Few(100, 0.15, 1, 0.1, 0.5),
)
SETTINGS = (Setting(1, 1, 1), Setting(1, 1, 3), Setting(3, 2, 3))


def effect(comparisons: int) -> float:
    """The difference in means that a test at ALPHA / comparisons finds with 80% power."""
    error = math.sqrt(2 * (_OWN**2 + _NOISE**2) / USERS)
    return float(ndtri(1 - ALPHA / comparisons / 2) + ndtri(0.8)) * error


def errors(rng: np.random.Generator, gains: Sequence[float]) -> list[np.ndarray]:
    """One task's errors and their squares [users, 2]; the first method is better than the others by `gains`."""
    shared = 5 + _LEVEL * rng.normal(size=USERS)
    found = []
    for gain in (0.0, *gains):
        own = shared + gain + _OWN * rng.normal(size=USERS) + _NOISE * rng.normal(size=USERS)
        found.append(np.stack([own, own**2], axis=1))
    return found


def judged(rng: np.random.Generator, setting: Setting, gains: Sequence[float], reported: float) -> list[ClaimTest]:
    """The claim's tests; `gains` are the true ones over each other method, `reported` is the paper's over all."""
    tests: list[ClaimTest] = []
    for _ in range(setting.tasks):
        answers = errors(rng, gains)
        for name, value in METRICS[: setting.metrics]:
            printed = reported if name == "mae" else _root(5 + reported) - _root(5)
            tests += _tests(Panel(answers, np.arange(USERS), value), setting, printed)
    decide(tests)
    return tests


def _tests(panel: Panel, setting: Setting, printed: float) -> Iterator[ClaimTest]:
    pairs = [(0, other) for other in range(1, 1 + setting.others)]
    for pair, found in zip(pairs, panel.p_values(pairs, PERMUTATIONS), strict=True):
        told = found.smallest * setting.comparisons < ALPHA
        error = panel.standard_error(pair) if told else None
        yield ClaimTest(
            kind="pair",
            model="made up",
            task="made up",
            metric="made up",
            a="best",
            gain=-panel.difference(pair),
            p=found.p,
            p_holm=found.p,
            users=len(panel.counts),
            standard_error=error,
            minimum_detectable=minimum_detectable(Spread(error, USERS), ALPHA / setting.comparisons) if error else None,
            reported_gain=printed,
        )


def rates(setting: Setting, truth: Sequence[float], draws: int, seed: int = 0) -> Counter[str]:
    """How often each verdict falls; `truth` has the share of the reported gain that is true over each other method."""
    rng = np.random.default_rng(seed)
    reported = effect(setting.comparisons)
    found: Counter[str] = Counter()
    for _ in range(draws):
        tests = judged(rng, setting, [share * reported for share in truth], reported)
        found[combined([test.verdict for test in tests])] += 1
        found["former: not supported"] += any(formerly_refuted(test) for test in tests)
    return found


def few_rates(few: Few, draws: int, seed: int = 0) -> Counter[str]:
    """How often each verdict falls on a claim of one comparison that is true as reported."""
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for _ in range(draws):
        level, luck = 5 + _LEVEL * rng.normal(size=few.users), rng.random(few.users)
        lost = np.where(luck < few.better, -few.gain, np.where(luck > 1 - few.worse, few.loss, 0.0))
        answers = [np.stack([own, own**2], axis=1) for own in (level + lost, level)]
        tests = list(_tests(Panel(answers, np.arange(few.users), METRICS[0][1]), Setting(1, 1, 1), few.mean))
        decide(tests)
        found[tests[0].verdict] += 1
    return found


def formerly_refuted(test: ClaimTest) -> bool:
    """The rule until it was simulated: a null against a reported difference that is no smaller than the detectable."""
    if test.p_holm < ALPHA:
        return test.gain <= 0
    detectable, reported = test.minimum_detectable, test.reported_gain
    return detectable is not None and reported is not None and detectable <= reported


def truths(others: int) -> dict[str, list[float]]:
    """Shares of the reported gain, over each other method."""
    found = {"true as reported": [1.0] * others, "true at half of it": [0.5] * others}
    if others > 1:
        found["false of one other method"] = [0.0] + [1.0] * (others - 1)
    return found | {"false of all": [0.0] * others}


def _root(level: float) -> float:
    return math.sqrt(level**2 + _LEVEL**2 + _OWN**2 + _NOISE**2)


def main() -> None:
    """Print the figures of docs/statistics.md, from as many samples as the command line says."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("comparisons | truth | supported | not supported | undecided | not supported by the former rule")
    for setting in SETTINGS:
        for name, truth in truths(setting.others).items():
            begun = time.perf_counter()
            found = rates(setting, truth, draws)
            verdicts = ("supported", "not supported", "undecided", "former: not supported")
            shares = " | ".join(f"{found[verdict] / draws:.3f}" for verdict in verdicts)
            print(f"{setting.comparisons} | {name} | {shares} ({time.perf_counter() - begun:.0f} s)", flush=True)
    for few in FEW:
        found = few_rates(few, draws)
        shares = " | ".join(f"{found[verdict] / draws:.3f}" for verdict in ("supported", "not supported", "undecided"))
        print(f"{few} | {shares}", flush=True)


if __name__ == "__main__":
    main()
