"""The figures of a comparison: scores with their intervals, and score against fit time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import BASELINE, Comparison, Row
from harness.reporting.formatting import plain
from harness.reporting.words import INSTRUMENTS
from harness.results import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEADER, _OTHER, _BASE = "#0072B2", "#767676", "#D55E00"  # blue and vermilion of Okabe and Ito's colour-blind palette
_WIDTH = 38  # characters of a method's name before its middle is cut
_SPREAD = 20  # ratio of fit times from which the axis is logarithmic
_LINE = 0.055  # height of a label, as a share of the axes


def write_plots(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `<task>.png` and `<task>-cost.png` for every task with answers; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task in comparison.spec.tasks:
        if any(row.metrics for row in _rows(comparison, task)):
            for name, figure in ((task, scores(comparison, task)), (f"{task}-cost", costs(comparison, task))):
                paths.append(folder / f"{name}.png")
                with replacing(paths[-1]) as temporary:
                    figure.savefig(temporary, format="png", dpi=150)
    return paths


def scores(comparison: Comparison, task: str) -> Figure:
    """One panel per metric, one line per method: the score, its interval, and instruct's score as a reference."""
    rows = [row for row in _rows(comparison, task) if row.metrics]
    metrics = comparison.higher_is_better[task]
    figure = _figure(3.2 + 3.4 * len(metrics), 1.5 + 0.34 * len(rows))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, (metric, higher) in zip(panels, metrics.items(), strict=True):
        leaders = _leaders(comparison, task, metric)
        for height, row in enumerate(rows):
            _point(axes, row, metric, height, leaders)
        for row in rows:
            if row.label == BASELINE:
                axes.axvline(row.metrics[metric], color=_BASE, linewidth=1, linestyle="--", zorder=1)
        axes.set_xlabel(_direction(metric, higher))
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows], parse_math=False)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    _headline(figure, comparison, f"{task}: mean and 95% interval over {max(row.users for row in rows)} users")
    return figure


def costs(comparison: Comparison, task: str) -> Figure:
    """The main metric against fit seconds; the line joins the methods that none beats on both."""
    rows = [row for row in _rows(comparison, task) if row.metrics]
    metric, higher = next(iter(comparison.higher_is_better[task].items()))
    figure = _figure(7.5, 4.6)
    axes = figure.subplots()
    spent = [row.fit_seconds for row in rows if row.fit_seconds >= 1]
    if spent and max(spent) > _SPREAD * min(spent):
        axes.set_xscale("symlog", linthresh=1.0)  # shows the zero of a method without a fit as well
    leaders = _leaders(comparison, task, metric)
    for row in rows:
        axes.plot(row.fit_seconds, row.metrics[metric], **_style(row, leaders))
    front = _front([(row.fit_seconds, row.metrics[metric]) for row in rows], higher)
    axes.step(*zip(*front, strict=True), where="post", color="#bbbbbb", linewidth=1.2, zorder=0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("fit time in seconds")
    axes.set_ylabel(_direction(metric, higher))
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    _headline(figure, comparison, f"{task}: what fit time buys")
    _label(axes, [(row.fit_seconds, row.metrics[metric], _name(row)) for row in rows])
    return figure


def _rows(comparison: Comparison, task: str) -> list[Row]:
    return [row for row in comparison.pooled if row.task == task]


def _leaders(comparison: Comparison, task: str, metric: str) -> set[str]:
    """The best method and all that tie with it."""
    found = [ranking for ranking in comparison.rankings if (ranking.task, ranking.metric) == (task, metric)]
    return {label for ranking in found for label in (ranking.best, *ranking.tied)}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _headline(figure: Figure, comparison: Comparison, text: str) -> None:
    note = "blue: best, or not told apart from it"
    if comparison.spec.model in INSTRUMENTS:
        note += f"; made with {comparison.spec.model}, a test instrument"
    figure.suptitle(f"{plain(text)}\n", fontsize=11)
    figure.text(0.5, 0.99, f"\n\n{note}", ha="center", va="top", fontsize=8, color="#555555")


def _direction(metric: str, higher_is_better: bool) -> str:
    return f"{metric}  →  better" if higher_is_better else f"better  ←  {metric}"


def _name(row: Row) -> str:
    name = plain(row.label)
    if len(name) > _WIDTH:  # variants differ at the end
        name = f"{name[: _WIDTH // 2]}…{name[1 - _WIDTH // 2 :]}"
    return f"{name} (overran)" if row.status == "overran" else name


def _style(row: Row, leaders: set[str]) -> dict[str, Any]:
    """Colour and shape both tell the kinds apart: instruct a diamond, leaders filled, others hollow."""
    colour = _BASE if row.label == BASELINE else _LEADER if row.label in leaders else _OTHER
    shape = "D" if row.label == BASELINE else "o"
    return {"color": colour, "marker": shape, "markerfacecolor": colour if row.label in leaders else "white"}


def _point(axes: Axes, row: Row, metric: str, height: int, leaders: set[str]) -> None:
    style, value = _style(row, leaders), row.metrics[metric]
    if metric in row.interval:
        axes.hlines(height, *row.interval[metric], color=style["color"], linewidth=2)
    axes.plot(value, height, linestyle="none", markersize=7, **style)


def _front(points: Sequence[tuple[float, float]], higher_is_better: bool) -> list[tuple[float, float]]:
    """The (seconds, score) that no cheaper one matches, by rising cost, drawn on to the dearest."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * value > sign * front[-1][1]:
            front.append((cost, value))
    return [*front, (max(cost for cost, _ in points), front[-1][1])]


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
