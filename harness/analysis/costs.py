"""What a method costs: storage, one more user, and the methods that no other beats on both quality and fit time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from harness.analysis.comparison import ALPHA, PairTest, Row
from harness.analysis.paired_tests import Entry, Metrics
from harness.api import Metric
from harness.registry import is_control
from harness.results.records import CellRecord
from harness.specs.run_spec import BASELINE

REACH = 0.1  # share of instruct's score by which a method is to be better
_LOST = 0.5  # share of instruct's answers; where more cannot be read, its score is no yardstick


def storage(records: Sequence[CellRecord]) -> dict[str, Any]:
    """Bytes of the fits by the users that they serve; None where they serve nobody."""
    served = sum(record.users_served for record in records)
    return {"bytes_per_user": sum(record.fit_bytes for record in records) / served if served else None}


def marginal(records: Sequence[CellRecord]) -> dict[str, Any]:
    """What it takes to fit one more user: seconds, tokens read and written, and bytes stored.

    Zero where the fit serves users that it has never seen, as a direction or an adapter for everybody does. Otherwise
    the fit's average per user fitted, which is too much where users share a part of the fit. None where no user was
    fitted, and where the records do not say whom the fit serves or disagree.
    """
    served = {record.serves_newcomers for record in records}
    fitted = sum(record.users_fitted for record in records)
    newcomers = served.pop() if len(served) == 1 else None
    totals = {
        "seconds": sum(record.fit_seconds for record in records),
        "tokens": sum(record.fit_tokens_in + record.fit_tokens_out for record in records),
        "bytes": sum(record.fit_bytes for record in records),
    }
    fields: dict[str, Any] = {"serves_newcomers": newcomers}
    for name, total in totals.items():
        fields[f"marginal_{name}"] = 0.0 if newcomers else total / fitted if newcomers is False and fitted else None
    return fields


def with_front(entries: Sequence[Entry], metrics: Metrics) -> list[Entry]:
    """Mark the rows of each task's Pareto front of the main metric against fit seconds.

    Overrun fits are not on it, nor controls, which nobody would choose.
    """
    ranked = [entry.row for entry in entries if _competes(entry.row)]
    return [_marked(entry, ranked, metrics[entry.row.task][0]) if _competes(entry.row) else entry for entry in entries]


def with_reach(entries: Sequence[Entry], tests: Sequence[PairTest], metrics: Metrics) -> list[Entry]:
    """Fill in after how many seconds a fit was REACH better than instruct by the main metric, in every seed.

    It has to stay so until its end, and to be better beyond chance there. A share of instruct's score is no yardstick
    where that is 0 or most of its answers could not be read: nothing is filled in.
    """
    base = {row.task: row for row in (entry.row for entry in entries) if row.label == BASELINE and row.metrics}
    told = {
        (test.task, test.a)
        for test in tests
        if test.b == BASELINE and test.metric == metrics[test.task][0].name and test.p_holm < ALPHA
    }
    return [
        _reached(entry, base[entry.row.task], metrics[entry.row.task][0])
        if (entry.row.task, entry.row.label) in told
        else entry
        for entry in entries
    ]


def _reached(entry: Entry, base: Row, main: Metric) -> Entry:
    sign = 1 if main.higher_is_better else -1
    start = base.metrics[main.name]
    if start == 0 or base.unread > _LOST:
        return entry

    def better(point: tuple[float, float]) -> bool:
        return sign * (point[1] - start) >= REACH * abs(start)

    lasting = [list(takewhile(better, reversed(curve))) for curve in entry.curves]
    firsts = [min((seconds for seconds, _ in points), default=None) for points in lasting]
    reached = [first for first in firsts if first is not None]
    if len(reached) < len(firsts):
        return entry
    return replace(entry, row=entry.row.model_copy(update={"reach_seconds": max(reached)}))


def _competes(row: Row) -> bool:
    return row.ranks and not is_control(row.label)


def _marked(entry: Entry, ranked: Sequence[Row], main: Metric) -> Entry:
    sign = -1 if main.higher_is_better else 1
    points = {(row.fit_seconds, sign * row.metrics[main.name]) for row in ranked if row.task == entry.row.task}
    seconds, loss = entry.row.fit_seconds, sign * entry.row.metrics[main.name]
    beaten = any(point[0] <= seconds and point[1] <= loss for point in points - {(seconds, loss)})
    return replace(entry, row=entry.row.model_copy(update={"on_front": not beaten}))
