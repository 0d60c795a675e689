"""A sweep's results as one table: a line per point, task, method and metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from harness.analysis.comparison import Comparison, Row, VsInstruct, standing
from harness.analysis.preference_likelihood import GOLD
from harness.formatting import bounds, number, plain, seconds
from harness.reporting.comparison_tables import MEASURE_TITLES, Table
from harness.specs.run_spec import format_value
from harness.sweeps.point_result import PointResult

NOT_AXES = ("methods", "tasks")  # what varies in them has a line or a figure of its own


def axes(results: Sequence[PointResult]) -> list[str]:
    """Every setting that some point names, in the file's order."""
    return list(dict.fromkeys(key for result in results for key in result.point.values))


def varied(results: Sequence[PointResult]) -> list[str]:
    """The axes that take more than one value and are not told apart by line or figure anyway."""
    return [key for key in axes(results) if key not in NOT_AXES and len(values(results, key)) > 1]


def values(results: Sequence[PointResult], key: str) -> list[str]:
    """The values of an axis as text, in the order of the points; "" where a point leaves it out."""
    return list(dict.fromkeys(_text(result, key) for result in results))


def frame(results: Sequence[PointResult]) -> pd.DataFrame:
    """`sweep.csv`: point, the axes, task, method, metric, value, low, high (95%), rank, tests, costs.

    `rank` is "best", "tied" or "" within the point, and "" for likelihoods, which come after the metrics. A method
    without answers has one line per task, without a metric.
    """
    keys = axes(results)
    columns = ["point", *keys, "task", "method", "metric", *_NUMBERS, _ANSWERED, *_COSTS]
    return pd.DataFrame([line for result in results for line in _lines(result, keys)], columns=columns)


def shown(lines: pd.DataFrame) -> pd.DataFrame:
    """What tables and plots have room for: metrics and the gold answers' likelihood, whose side effects go."""
    return lines[~lines["metric"].isin(MEASURE_TITLES.keys() - {GOLD})]


_NUMBERS = ("higher_is_better", "value", "low", "high", "rank", "vs_instruct", "p_holm")
_COSTS = ("fit_seconds", "samples_used", "status", "reason")
_ANSWERED = "users_answered"  # no name of a setting, which may be an axis


def _lines(result: PointResult, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    point = {"point": result.point.slug, **{key: _text(result, key) for key in keys}}
    for row in result.comparison.pooled:
        costs = {_ANSWERED: row.users, **{name: getattr(row, name) for name in _COSTS}}
        own = {**point, "task": row.task, "method": row.label, **costs}
        for metric in row.metrics or [""]:
            yield {**own, "metric": metric, **_numbers(result.comparison, row, metric)}
        for measure, higher in result.comparison.likelihood_higher_is_better.get(row.task, {}).items():
            if score := row.likelihood.get(measure):
                numbers = _scored(higher, score.value, score.interval, score.vs_instruct)
                yield {**own, "metric": measure, **numbers, "rank": ""}


def _numbers(comparison: Comparison, row: Row, metric: str) -> dict[str, Any]:
    if not metric:
        return dict.fromkeys(_NUMBERS)
    higher = comparison.higher_is_better[row.task][metric]
    numbers = _scored(higher, row.metrics[metric], row.interval.get(metric), row.vs_instruct.get(metric))
    return {**numbers, "rank": _rank(comparison, row, metric)}


def _scored(
    higher_is_better: bool, value: float, interval: tuple[float, float] | None, test: VsInstruct | None
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {
        "higher_is_better": higher_is_better,
        "value": value,
        "low": low,
        "high": high,
        "vs_instruct": test and test.difference,
        "p_holm": test and test.p_holm,
    }


def _rank(comparison: Comparison, row: Row, metric: str) -> str:
    ranking = next((r for r in comparison.rankings if (r.task, r.metric) == (row.task, metric)), None)
    place = standing(row, ranking)
    return place if place in ("best", "tied") else ""


def tables(results: Sequence[PointResult]) -> list[Table]:
    """One per task: points and methods by metrics. Within a point, bold is best and ≈ not told apart from it."""
    lines = shown(frame(results))
    return [_table(str(task), own, axes(results)) for task, own in lines.groupby("task", sort=False)]


def _table(task: str, lines: pd.DataFrame, keys: Sequence[str]) -> Table:
    metrics = {m: bool(up) for m, up in zip(lines["metric"], lines["higher_is_better"], strict=True) if m}
    heads = [f"{MEASURE_TITLES.get(metric, metric)} {'↑' if up else '↓'}" for metric, up in metrics.items()]
    table = Table(task, ["point", "method", *heads, "fit", "status"], [], set())
    for (_, method), own in lines.groupby(["point", "method"], sort=False):
        first, scores = own.iloc[0], {line.metric: line for line in own.itertuples()}
        label = ", ".join(f"{key}={first[key]}" for key in keys if first[key] != "")
        cells = [plain(label), plain(str(method))]
        for metric in metrics:
            line = scores.get(metric)
            if line is not None and line.rank == "best":
                table.bold.add((len(table.rows), len(cells)))
            cells.append("–" if line is None else _score(line))
        table.rows.append([*cells, seconds(first["fit_seconds"]), str(first["status"]).replace("_", " ")])
    return table


def _score(line: Any) -> str:
    tied = " ≈" if line.rank == "tied" else ""
    interval = "" if pd.isna(line.low) else f"\n{bounds((line.low, line.high))}"
    return f"{number(line.value)}{tied}{interval}"


def _text(result: PointResult, key: str) -> str:
    return format_value(result.point.values[key]) if key in result.point.values else ""
