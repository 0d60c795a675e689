"""The figures of a comparison: scores with their intervals, score against fit time, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.comparison import Comparison, Row
from harness.reporting.canvas import canvas, direction, save, tidy
from harness.reporting.comparison_tables import history_bins
from harness.reporting.drawing import (
    BASE,
    answered,
    headline,
    leaders,
    lines,
    margin,
    point,
    shown_name,
    style,
)
from harness.reporting.user_plots import history, users
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = dict[str, tuple[str, "Callable[[Comparison, str], Figure]"]]  # (caption, how to draw it) by name
_SPREAD = 20  # ratio of fit times from which the axis is logarithmic
_LINE = 0.055  # height of a label, as a share of the axes


def write_plots(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the figures of every task with answers, `<name>.png`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task in comparison.spec.tasks:
        for stem, (_, draw) in figures(comparison, task).items():
            paths.append(save(draw(comparison, task), folder / f"{stem}.png"))
    return paths


def figures(comparison: Comparison, task: str) -> Figures:
    """The figures of a task; none for a task without answers."""
    shown = answered(comparison, task)
    if not shown:
        return {}
    found: Figures = {task: ("Scores with intervals", scores), f"{task}-cost": ("Score against fit time", costs)}
    if any(user.task == task for user in comparison.users):
        found[f"{task}-users"] = ("How users fare by themselves", users)
    if len(history_bins(shown)) > 1:
        found[f"{task}-history"] = ("Scores by length of history", history)
    return found


def scores(comparison: Comparison, task: str) -> Figure:
    """One panel per metric, one line per method: the score, its interval, and instruct's score as a reference."""
    shown = answered(comparison, task)
    metrics = comparison.higher_is_better[task]
    drawn = canvas(margin(shown) + 3.4 * len(metrics), 1.5 + 0.34 * len(shown))
    panels = drawn.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, (metric, higher) in zip(panels, metrics.items(), strict=True):
        best = leaders(comparison, task, metric)
        for height, row in enumerate(shown):
            point(axes, style(row, best), row.metrics[metric], row.interval.get(metric), height)
            if row.label == BASELINE:
                axes.axvline(row.metrics[metric], color=BASE, linewidth=1, linestyle="--", zorder=1)
        axes.set_xlabel(direction(metric, higher))
    lines(panels, shown)
    headline(drawn, comparison, f"{task}: mean and 95% interval over {max(row.users for row in shown)} users")
    return drawn


def costs(comparison: Comparison, task: str) -> Figure:
    """The main metric against fit seconds; the line joins the Pareto front."""
    shown = answered(comparison, task)
    metric, higher = next(iter(comparison.higher_is_better[task].items()))
    drawn = canvas(margin(shown) + 5.0, max(4.6, 1.2 + 0.18 * len(shown)))
    axes = drawn.subplots()
    spent = [row.fit_seconds for row in shown if row.fit_seconds >= 1]
    if spent and max(spent) > _SPREAD * min(spent):
        axes.set_xscale("symlog", linthresh=1.0)  # shows the zero of a method without a fit as well
    best = leaders(comparison, task, metric)
    for row in shown:
        axes.plot(row.fit_seconds, row.metrics[metric], **style(row, best))
    front = _front(shown, metric)
    if front:
        axes.step(*zip(*front, strict=True), where="post", color="#bbbbbb", linewidth=1.2, zorder=0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("fit time in seconds")
    tidy(axes, metric, higher)
    headline(drawn, comparison, f"{task}: what fit time buys")
    _label(axes, [(row.fit_seconds, row.metrics[metric], shown_name(row)) for row in shown])
    return drawn


def _front(shown: Sequence[Row], metric: str) -> list[tuple[float, float]]:
    """The (seconds, score) of the Pareto front by rising cost, drawn on to the dearest method."""
    front = sorted((row.fit_seconds, row.metrics[metric]) for row in shown if row.on_front)
    return [*front, (max(row.fit_seconds for row in shown), front[-1][1])] if front else []


def _label(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names in a column right of the axes, in the order of the points, never overlapping, joined by thin lines."""
    low, high = axes.get_ylim()
    ordered = sorted(points, key=lambda point: point[1])
    gap = min(_LINE, 1 / len(ordered))
    places: list[float] = []
    for _, value, _ in ordered:
        places.append(max((value - low) / (high - low), places[-1] + gap if places else 0.0))
    ceiling = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    for (cost, value, name), place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            (cost, value),
            (1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#cccccc",
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )
