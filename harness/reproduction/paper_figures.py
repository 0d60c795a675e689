"""The paper's figures in their own form, with intervals; of a table, its numbers beside the reported ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.analysis.preference_likelihood import BESIDE
from harness.registry import is_control
from harness.reporting.canvas import BLUE, GREEN, GREY, PURPLE, VERMILION, canvas, headline
from harness.reproduction.result import Measured, Reproduction
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, GREY)
_REPORTED = VERMILION
_MARKERS = ("o", "D", "s", "^", "v")


def draw(result: Reproduction, names: Mapping[str, str]) -> Figure:
    """A panel per model, task and metric."""
    panels: dict[tuple[str, str, str], list[Measured]] = {}
    for row in result.rows:
        panels.setdefault((row.model, row.task, row.metric), []).append(row)
    columns = 2 if len(panels) > 1 else 1
    lines = -(-len(panels) // columns)
    listed = len(result.layout.methods) if result.layout.kind == "table" else 0  # a line each
    figure = canvas(5.0 * columns + 1, max(2.9, 0.24 * listed + 0.8) * lines + 1.4)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    fill = {"table": _dots, "lines": _lines, "columns": _bars}[result.layout.kind]
    for axes, ((model, task, metric), rows) in zip(grid, panels.items(), strict=False):
        fill(axes, result, rows)
        improved = result.layout.kind == "columns" or (result.layout.kind == "table" and metric in BESIDE)
        arrow = "" if improved else " ↑" if rows[0].higher_is_better else " ↓"  # an improvement is better upwards
        own = f"{names.get(task, task)} {names.get(metric, metric)}{arrow}"
        axes.set_title(f"{own}, {model}" if len(result.models) > 1 else own, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    headline(figure, result.heading, list(result.models))
    _legend(figure)
    return figure


def _dots(axes: Axes, result: Reproduction, rows: Sequence[Measured]) -> None:
    """One line per method with answers: our score with its interval, and the reported one as a cross; controls in grey.

    Of what is measured beside the scores, the improvement: what a query is worth differs much more from query to query
    than from method to method, and cancels there.
    """
    paired = rows[0].metric in BESIDE
    shown = {
        row.label: (row.improvement, row.improvement_interval) if paired else (row.value, row.interval) for row in rows
    }
    known = {row.label for row in rows if shown[row.label][0] is not None or row.reported is not None}
    columns = [column for column in result.layout.methods if column.method in known]
    order = [column.method for column in columns]
    for row in (row for row in rows if row.label in known):
        height, (value, interval) = order.index(row.label), shown[row.label]
        colour = GREY if is_control(row.label) else _COLOURS[0]
        if interval:
            axes.hlines(height, *interval, color=colour, linewidth=2)
        if value is not None:
            kind = "a control" if is_control(row.label) else "measured"
            axes.plot(value, height, "o", color=colour, label=f"{kind}, {row.model}")
        if row.reported is not None:
            name = f"reported, {result.models[row.model]}"
            axes.plot(row.reported, height, "x", color=_REPORTED, markersize=7, label=name)
    if paired:
        axes.axvline(0, color="#222222", linewidth=0.8)
        axes.set_xlabel(f"improvement over {BASELINE}: right is better")
    axes.set_yticks(range(len(order)), [_short(column.title) for column in columns])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)


def _lines(axes: Axes, result: Reproduction, rows: Sequence[Measured]) -> None:
    """A line per method over the axis, with the interval as a band."""
    places = _places([row.tick for row in rows])
    for number, column in enumerate(result.layout.methods):
        own = [row for row in rows if row.label == column.method]
        known = [(places[row.tick], row.value) for row in own if row.value is not None]
        bands = [(places[row.tick], *row.interval) for row in own if row.interval]
        colour, marker = _style(number)
        dashes = "--" if number else "-"  # lines may coincide
        axes.plot(*np.array(known).T, linestyle=dashes, marker=marker, color=colour, label=column.title)
        if bands:
            axes.fill_between(*np.array(bands).T, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xlabel(result.layout.label)
    axes.grid(color="#eeeeee", linewidth=0.8)


def _places(ticks: Sequence[str]) -> dict[str, float]:
    """Where each tick stands: at its number or, if they are not all numbers, one after the other."""
    distinct = list(dict.fromkeys(ticks))
    try:
        return {tick: float(tick) for tick in distinct}
    except ValueError:
        return {tick: float(place) for place, tick in enumerate(distinct)}


def _style(number: int) -> tuple[str, str]:
    """(colour, marker) of a method; they repeat out of step."""
    turn, place = divmod(number, len(_COLOURS))
    return _COLOURS[place], _MARKERS[(place + turn) % len(_MARKERS)]


def _bars(axes: Axes, result: Reproduction, rows: Sequence[Measured]) -> None:
    """Grouped columns: improvement over instruct by method and tick, with its interval."""
    methods, ticks = result.layout.methods, list(dict.fromkeys(row.tick for row in rows))
    width = 0.8 / len(methods)
    for number, column in enumerate(methods):
        for row in rows:
            if row.label != column.method or row.improvement is None:
                continue
            place = ticks.index(row.tick) + (number - (len(methods) - 1) / 2) * width
            axes.bar(place, row.improvement, width * 0.95, color=_style(number)[0], label=column.title)
            if row.improvement_interval:
                axes.vlines(place, *row.improvement_interval, color="#222222", linewidth=1.2)
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel(result.layout.label)
    axes.set_ylabel(f"improvement over {BASELINE}")
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(figure: Figure) -> None:
    """Each name once, below the panels."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    if found:
        figure.legend(
            list(found.values()), list(found), loc="outside lower center", ncols=min(3, len(found)), fontsize=8
        )


def _short(title: str) -> str:
    return title.partition(" (")[0]
