"""Compares a repetition with its baseline, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.gate.baseline import Answer, Key, Outcome, Tolerance
from harness.registry import method_of

EXACT = 1e-9  # metrics of the same answers
FOLLOWING = ("tokens_in", "tokens_out", "parse_failures")  # counters that change with the answers, as metrics do


@dataclass(frozen=True)
class Changed:
    """A value that came out otherwise; None where one side has none."""

    name: str
    expected: float | str | None
    got: float | str | None


@dataclass(frozen=True)
class ChangedAnswer:
    """A query that was asked or answered otherwise; None where one side does not have it."""

    expected: Answer | None
    got: Answer | None

    @property
    def user(self) -> str:
        """Whose query it is."""
        return (self.expected or self.got or Answer("", "", "", "", "")).user

    @property
    def asked_otherwise(self) -> bool:
        """Whether the prompt changed."""
        return bool(self.expected and self.got and self.expected.prompt != self.got.prompt)

    @property
    def answered_otherwise(self) -> bool:
        """Whether the output changed, or one side has none."""
        return not (self.expected and self.got) or self.expected.output != self.got.output

    @property
    def read_otherwise(self) -> bool:
        """Whether the same output was read as another answer."""
        return bool(
            self.expected
            and self.got
            and self.expected.output == self.got.output
            and self.expected.prediction != self.got.prediction
        )


@dataclass
class Difference:
    """All that differs in one cell. `tolerated` answers changed, but no more of them than the baseline allows."""

    key: Key
    values: list[Changed] = field(default_factory=list)
    answers: list[ChangedAnswer] = field(default_factory=list)
    total: int = 0
    tolerated: bool = False

    @property
    def kinds(self) -> set[str]:
        """What shows that the cell differs: names of values, "prompts", "answers", "predictions"."""
        kinds = {value.name for value in self.values}
        kinds |= {"prompts" for change in self.answers if change.asked_otherwise}
        kinds |= {"answers" for change in self.answers if change.answered_otherwise}
        return kinds | {"predictions" for change in self.answers if change.read_otherwise}


def compare(expected: Sequence[Outcome], got: Sequence[Outcome], tolerance: Tolerance) -> list[Difference]:
    """Every cell that differs, tolerated ones included, in the order of `got`, then those that are missing."""
    before, after = {cell.key: cell for cell in expected}, {cell.key: cell for cell in got}
    found = []
    for key in [*after, *(key for key in before if key not in after)]:
        allowed = tolerance.answers.get(method_of(key.method), 0.0)
        difference = _difference(key, before.get(key), after.get(key), allowed, tolerance.numbers)
        if difference is not None:
            found.append(difference)
    return found


def _difference(
    key: Key, expected: Outcome | None, got: Outcome | None, allowed: float, numbers: float
) -> Difference | None:
    if expected is None or got is None:
        return Difference(key, [Changed("cell", *("absent" if cell is None else "there" for cell in (expected, got)))])
    answers = list(_answers(expected.answers, got.answers))
    total = max(len(expected.answers), len(got.answers))
    tolerated = 0 < len(answers) <= allowed * total and _tolerable(answers)
    follow = {*expected.metrics, *expected.likelihood, *FOLLOWING} if tolerated else set()
    values = [
        *_status(expected, got),
        *_values(expected.metrics, got.metrics, EXACT, EXACT),
        *_values(expected.counters, got.counters, numbers, 0.0),
        *_values(expected.likelihood, got.likelihood, numbers, numbers),
    ]
    values = [value for value in values if value.name not in follow]
    return Difference(key, values, answers, total, tolerated and not values) if values or answers else None


def _status(expected: Outcome, got: Outcome) -> list[Changed]:
    if expected.status == got.status:
        return []
    return [
        Changed(
            "status", *(f"{cell.status} ({cell.reason})" if cell.reason else cell.status for cell in (expected, got))
        )
    ]


def _answers(expected: Sequence[Answer], got: Sequence[Answer]) -> Iterator[ChangedAnswer]:
    before, after = {answer.query: answer for answer in expected}, {answer.query: answer for answer in got}
    for query in dict.fromkeys([*before, *after]):
        if before.get(query) != after.get(query):
            yield ChangedAnswer(before.get(query), after.get(query))


def _tolerable(answers: Sequence[ChangedAnswer]) -> bool:
    """Rounding can change what is generated, but neither what is asked nor how an answer is read."""
    return all(
        change.expected and change.got and change.answered_otherwise and not change.asked_otherwise
        for change in answers
    )


def _values(expected: Mapping[str, float], got: Mapping[str, float], numbers: float, whole: float) -> Iterator[Changed]:
    """Values that differ by more than `numbers` relatively; by more than `whole` where both are whole numbers."""
    for name in dict.fromkeys([*expected, *got]):
        old, new = expected.get(name), got.get(name)
        if old is None or new is None:
            yield Changed(name, old, new)
            continue
        allowed = whole if old == round(old) and new == round(new) else numbers
        if not math.isclose(old, new, rel_tol=allowed, abs_tol=EXACT):
            yield Changed(name, old, new)
