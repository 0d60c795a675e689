"""A method against its controls, as a run has tested them: what of its gain is shown to be personal rests on these."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.api import HarnessError
from harness.leaderboards.record_schema import Test
from harness.leaderboards.run_folder import PairTest, Row, Run


def controls_of(run: Run) -> dict[str, str]:
    """The controls that a run has, each with the method whose place it takes: "" where it is no method's in particular.

    Raises HarnessError naming one that cannot be imported.
    """
    used = {row.method for row in run.comparison.pooled}
    return {point.name: _control_of(point) for point in entry_points(group="harness.controls") if point.name in used}


def _control_of(point: EntryPoint) -> str:
    try:
        return str(point.load().control_of)
    except Exception as error:
        raise HarnessError(
            f"The control '{point.name}' is registered as {point.value}, which cannot be imported as one: "
            f"{type(error).__name__}: {error}. Whose control it is cannot be told."
        ) from error


def versus_controls(tests: list[PairTest], row: Row, metric: str, controls: dict[str, str]) -> dict[str, Any]:
    """By the label of each control of the row's method, and each of none in particular: the row less the control.

    A control has none.
    """
    found = {}
    for test in tests if row.method not in controls else ():
        if (test.task, test.metric) != (row.task, metric) or row.label not in (test.a, test.b):
            continue
        first = test.a == row.label
        other = test.b if first else test.a
        if controls.get(other.partition(":")[0]) in ("", row.method):
            values = test.model_dump(include=set(Test.model_fields))
            turned = {key: _negative(values[key]) for key in ("difference", "effect_size") if not first}
            found[other] = values | turned
    return found


def _negative(value: float | None) -> float | None:
    return None if value is None else 0.0 - value  # a zero keeps no sign
