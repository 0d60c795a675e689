"""How sentences tell the best method of a task: what it scores, by how much it beats instruct, and who else does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.comparison import ALPHA, PairTest
from harness.analysis.panel import users_needed
from harness.analysis.stats import TOLERANCE
from harness.formatting import bounds, counted, listed, number, p_value, share
from harness.registry import is_control
from harness.specs.run_spec import BASELINE

UNREADABLE = 0.1  # share of answers without a valid prediction that is worth a sentence
NAMED = 5  # methods, and controls, that a list names before it counts the rest


def heading(task: str, metric: str, higher_is_better: bool, users: int, queries: int) -> str:
    """`LaMP3, 30 users, 45 questions, by MAE (lower is better):`, which begins the sentence."""
    questions = "a question each" if queries == users else counted(queries, "question")
    direction = "higher" if higher_is_better else "lower"
    return f"{task}, {counted(users, 'user')}, {questions}, by {metric} ({direction} is better):"


def against_instruct(
    label: str,
    value: float | None,
    interval: tuple[float, float] | None,
    test: PairTest | None,
    alone: bool,
    late: Sequence[str],
) -> str:
    """Whether the method that scores best beats instruct, and how many users would tell where these cannot.

    `test` is its own against instruct. `alone`: no other method that ranks is better than instruct beyond chance.
    `late`: who scores better than instruct, but does not rank.
    """
    score = f"{number(value)} {bounds(interval)}" if interval else number(value)
    if label == BASELINE:
        return f"{nobody(late)} scores better than {BASELINE}, the model as it is, at {score}."
    if test is None:
        return f"{label} scores best, {score}, and was not tested against {BASELINE}."
    gap = "less than 0.001" if abs(test.difference) < 0.0005 else number(abs(test.difference))
    by = f"over users and {test.fits} fits" if test.p_holm == test.p_fits else "after Holm"
    gain = f"{gap} better than {BASELINE}, {p_value(test.p_holm)} {by}"
    if test.p_holm < ALPHA:
        return f"{label} is best, {score} ({gain})."
    needed = users_needed(test, test.difference)
    decide = f"; if that is the true gain, about {needed:,} users would show it" if needed else ""
    none = f"{nobody(late)} is better than {BASELINE} beyond chance. " if alone else ""
    return f"{none}{label} scores best, {score} ({gain}{decide})."


def beyond_chance(tests: Iterable[PairTest], higher_is_better: bool) -> tuple[list[str], list[str]]:
    """The methods that tests against instruct show to be better than it, and worse."""
    sign = 1 if higher_is_better else -1
    told = [test for test in tests if test.p_holm < ALPHA]
    return [t.a for t in told if sign * t.difference > 0], [t.a for t in told if sign * t.difference < 0]


def nobody(late: Sequence[str]) -> str:
    """Of whom it is said that none is better: of those that rank, where an overrun method is."""
    return "no method that kept its budget" if late else "no method"


def late_and_better(tests: Iterable[PairTest], higher_is_better: bool) -> list[str]:
    """Of overrun methods, by their tests against instruct, those that score better than it, with gain and p."""
    sign = 1 if higher_is_better else -1
    ahead = [test for test in tests if sign * test.difference > TOLERANCE]
    return [f"{test.a} (by {number(abs(test.difference))}, {p_value(test.p_holm)})" for test in ahead]


def better_and_worse(better: Sequence[str], worse: Sequence[str], late: Sequence[str]) -> list[str]:
    """A sentence on each of the three that is not empty."""
    groups = (
        ("Better than {} beyond chance", better),
        ("Worse than {} beyond chance", worse),
        ("Scoring better than {}, but not ranked as the fit overran its budget", late),
    )
    return [f"{how.format(BASELINE)}: {listed(labels)}." for how, labels in groups if labels]


def unreadable(lost: float) -> str:
    """Of instruct, the share of answers that score as the worst for their form alone; empty where they are few."""
    if lost <= UNREADABLE:
        return ""
    return (
        f"{share(lost)} of the answers of {BASELINE} could not be read and score as the worst: what makes them "
        "readable gains without knowing any user."
    )


def foremost(labels: Sequence[str]) -> str:
    """Labels, given best first, in words: controls apart from methods, of both the first few, the rest counted."""
    methods, controls = ([label for label in labels if is_control(label) == kind] for kind in (False, True))
    told = f"the control{'s' * (len(controls) > 1)} {_first(controls)}" if controls else ""
    return ", and ".join(filter(None, [_first(methods), told]))


def _first(labels: Sequence[str]) -> str:
    rest = len(labels) - NAMED
    return listed([*labels[:NAMED], f"{rest} more"] if rest > 0 else labels)


def copying(whose: str, own: float, baseline: float | None) -> str:
    """How much of a method's answers stands in the question, beside instruct's: what ROUGE rewards, too."""
    beside = "" if baseline is None else f", {share(baseline)} of those of {BASELINE}"
    return f"{share(own)} of {whose} words stand in the question{beside}."
