"""From the runs of an experiment's points to the numbers that its table or figure shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis import stats
from harness.analysis.build_comparison import Cell, read_cells
from harness.analysis.comparison import Comparison, Row
from harness.analysis.paired_tests import Metrics
from harness.analysis.preference_likelihood import GROUPS
from harness.analysis.scores import Measure, Scores, align, pool
from harness.api import Metric
from harness.registry import make_task
from harness.reproduction.experiment_spec import Column, Layout
from harness.reproduction.reported import Reported
from harness.reproduction.result import Bounds, Measured
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.specs.run_spec import BASELINE, format_value
from harness.sweeps.point_result import PointResult


@dataclass(frozen=True)
class Side:
    """One point of one model: what its methods scored, by task and label, seeds pooled; by measure, what else."""

    model: str
    point: int  # along the axis
    tick: str
    comparison: Comparison
    scores: Mapping[tuple[str, str], Scores]
    records: Sequence[CellRecord]
    beside: Mapping[str, Mapping[tuple[str, str], Scores]]


_BESIDE = [(place, one) for place, group in enumerate(GROUPS) for one in group]  # beside the metrics, with its group


def read_sides(results: Sequence[PointResult], layout: Layout, metrics: Metrics) -> list[Side]:
    """The points as they were run, numbered along the axis for each model."""
    sides: list[Side] = []
    for result in results:
        model = result.point.spec.model
        number = sum(side.model == model for side in sides)
        tick = format_value(result.point.values[layout.axis]) if layout.axis else ""
        cells, _ = read_cells(Store(result.folder), metrics)
        beside = {measure.name: _pooled(cells, _group(place)) for place, measure in _BESIDE}
        scores = _pooled(cells, lambda cell: cell.scores)
        records = [cell.record for cell in cells]
        sides.append(Side(model, number, tick, result.comparison, scores, records, beside))
    return sides


def _group(place: int) -> Callable[[Cell], Scores | None]:
    return lambda cell: cell.measured[place]


def _pooled(cells: Sequence[Cell], read: Callable[[Cell], Scores | None]) -> dict[tuple[str, str], Scores]:
    grouped: dict[tuple[str, str], dict[int, Scores]] = {}
    for cell in cells:
        if (found := read(cell)) is not None:
            spec = cell.record.spec
            grouped.setdefault((spec.task, spec.label), {})[spec.seed] = found
    return {key: pool(seeds) for key, seeds in grouped.items()}


def task_metrics(results: Sequence[PointResult]) -> dict[str, tuple[Metric, ...]]:
    """The metrics of every task that any point has."""
    return {task: make_task(task).metrics for result in results for task in result.point.spec.tasks}


def measure(
    sides: Sequence[Side],
    layout: Layout,
    metrics: Metrics,
    experiment: str,
    reported: Reported,
    counterparts: Mapping[str, str],
) -> list[Measured]:
    """A row per model, point, task, metric and method of the layout, in this order; other measures come last."""
    return [
        _measured(
            side,
            metric,
            row,
            reported.value(experiment, task, metric.name, counterparts[side.model], column.reported or column.method),
        )
        for side in sides
        for task in side.comparison.spec.tasks
        for metric in (*metrics[task], *_measures(side, task))
        for column in layout.methods
        for row in _rows(side.comparison, task, column)
    ]


def _rows(comparison: Comparison, task: str, column: Column) -> list[Row]:
    return [row for row in comparison.pooled if (row.task, row.label) == (task, column.method)]


def _measures(side: Side, task: str) -> list[Measure]:
    """None where the experiment shows no likelihoods."""
    if not side.comparison.spec.likelihood:
        return []
    scores = {name: [own for (known, _), own in found.items() if known == task] for name, found in side.beside.items()}
    return [one for _, one in _BESIDE if any(one.name in own.statistics for own in scores[one.name])]


def _measured(side: Side, metric: Measure, row: Row, reported: float | None) -> Measured:
    scores, beside = side.beside.get(metric.name, side.scores), row.likelihood.get(metric.name)
    own, base = scores.get((row.task, row.label)), scores.get((row.task, BASELINE))
    improvement = gain(own, base, metric) if own and base and row.label != BASELINE else None
    ranking = [r for r in side.comparison.rankings if (r.task, r.metric) == (row.task, metric.name)]
    return Measured(
        model=side.model,
        point=side.point,
        tick=side.tick,
        metric=metric.name,
        label=row.label,
        higher_is_better=metric.higher_is_better,
        value=beside.value if beside else row.metrics.get(metric.name),
        interval=beside.interval if beside else row.interval.get(metric.name),
        improvement=improvement[0] if improvement else None,
        improvement_interval=improvement[1] if improvement else None,
        best=any(row.label == found.best for found in ranking),
        tied=any(row.label in found.tied for found in ranking),
        reported=reported,
        seeds=len(row.seeds),
        **row.model_dump(include=_SAME),
    )


_SAME = {
    *("task", "status", "users", "queries", "users_fitted", "samples_used", "fit_seconds", "eval_seconds"),
    *("fit_bytes", "better_rate", "regret_rate", "by_history", "sole_answer", "parse_failures"),
}


def gain(a: Scores, b: Scores, metric: Measure) -> tuple[float, Bounds | None]:
    """(how much better a is than b on the queries of both, its 95% interval over users)."""
    ours, theirs = align(a, b)
    both = np.hstack([ours.statistics[metric.name], theirs.statistics[metric.name]])
    sign = 1 if metric.higher_is_better else -1

    def difference(means: stats.Floats) -> stats.Floats:
        first, second = np.split(means, 2, axis=-1)
        return np.asarray(sign * (metric.value(first) - metric.value(second)))

    low, high = stats.interval(both, ours.users, difference)
    return float(difference(both.mean(0))), None if np.isnan(low) else (low, high)
