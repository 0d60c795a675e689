"""How sentences tell the best method of a task: what it scores, by how much it beats instruct, and who else does."""

from __future__ import annotations

from collections.abc import Iterable

from harness.analysis.comparison import ALPHA, PairTest
from harness.analysis.panel import users_needed
from harness.formatting import bounds, counted, listed, number, p_value, share
from harness.specs.run_spec import BASELINE


def heading(task: str, metric: str, higher_is_better: bool, users: int, queries: int) -> str:
    """`LaMP3, 30 users, 45 questions, by MAE (lower is better):`, which begins the sentence."""
    questions = "a question each" if queries == users else counted(queries, "question")
    direction = "higher" if higher_is_better else "lower"
    return f"{task}, {counted(users, 'user')}, {questions}, by {metric} ({direction} is better):"


def against_instruct(
    label: str, value: float | None, interval: tuple[float, float] | None, test: PairTest | None, alone: bool
) -> str:
    """Whether the method that scores best beats instruct, and how many users would tell where these cannot.

    `test` is its own against instruct. `alone`: no other method is better than instruct beyond chance.
    """
    score = f"{number(value)} {bounds(interval)}" if interval else number(value)
    if label == BASELINE:
        return f"no method scores better than {BASELINE}, the model as it is, at {score}."
    if test is None:
        return f"{label} scores best, {score}, and was not tested against {BASELINE}."
    gap = "less than 0.001" if abs(test.difference) < 0.0005 else number(abs(test.difference))
    by = f"over users and {test.fits} fits" if test.p_holm == test.p_fits else "after Holm"
    gain = f"{gap} better than {BASELINE}, {p_value(test.p_holm)} {by}"
    if test.p_holm < ALPHA:
        return f"{label} is best, {score} ({gain})."
    needed = users_needed(test, test.difference)
    decide = f"; if that is the true gain, about {needed:,} users would show it" if needed else ""
    nobody = f"no method is better than {BASELINE} beyond chance. " if alone else ""
    return f"{nobody}{label} scores best, {score} ({gain}{decide})."


def beyond_chance(tests: Iterable[PairTest], higher_is_better: bool) -> tuple[list[str], list[str]]:
    """The methods that tests against instruct show to be better than it, and worse."""
    sign = 1 if higher_is_better else -1
    told = [test for test in tests if test.p_holm < ALPHA]
    return [t.a for t in told if sign * t.difference > 0], [t.a for t in told if sign * t.difference < 0]


def better_and_worse(better: list[str], worse: list[str]) -> list[str]:
    """A sentence on each of the two that is not empty."""
    groups = (("Better", better), ("Worse", worse))
    return [f"{how} than {BASELINE} beyond chance: {listed(labels)}." for how, labels in groups if labels]


def copying(whose: str, own: float, baseline: float | None) -> str:
    """How much of a method's answers stands in the question, beside instruct's: what ROUGE rewards, too."""
    beside = "" if baseline is None else f", {share(baseline)} of those of {BASELINE}"
    return f"{share(own)} of {whose} words stand in the question{beside}."
