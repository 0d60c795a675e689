"""The figures of a sweep: one axis gives lines with interval bands, two give a heat map per method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.formatting import number, plain
from harness.reporting.canvas import REFERENCE, canvas, headline, legend, save, styles, tidy
from harness.reporting.comparison_tables import MEASURE_TITLES
from harness.specs.run_spec import BASELINE
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_table import frame, shown, values, varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SPREAD = 20  # ratio of an axis' values from which it is logarithmic
_COLUMNS = 3  # heat maps side by side


def write_plots(results: Sequence[PointResult], folder: Path) -> tuple[list[Path], str]:
    """Write what the number of axes allows, per task; return the paths and, where nothing is drawn, why."""
    keys, lines = varied(results), shown(frame(results)).dropna(subset="value")
    if len(keys) not in (1, 2):
        return [], _why_not(keys)
    folder.mkdir(parents=True, exist_ok=True)
    model, paths = results[0].point.spec.model, []
    for task, own in lines.groupby("task", sort=False):
        if len(keys) == 1:
            figure = line_plot(own, str(task), keys[0], values(results, keys[0]), model)
            paths.append(save(figure, folder / f"{task}.png"))
            continue
        for metric, scores in own.groupby("metric", sort=False):
            grid, name = [values(results, key) for key in keys], str(metric)
            title = f"{task}: {MEASURE_TITLES.get(name, name)}"
            figure = heat_maps(scores, title, keys, grid, model)
            paths.append(save(figure, folder / f"{task}-{name}.png"))
    return paths, "" if paths else "No point has answers to plot."


def _why_not(keys: Sequence[str]) -> str:
    if not keys:
        return "No plot: nothing but methods or tasks varies. The table holds every point."
    return (
        f"No plot: {len(keys)} axes vary ({', '.join(keys)}), and a plot shows two at most. The table holds every "
        "point. For a plot, hold the other axes with `value:` in a copy of the file, with the same --out."
    )


def line_plot(lines: pd.DataFrame, task: str, key: str, order: Sequence[str], model: str) -> Figure:
    """A panel per metric: each method's score along the axis, a band for its 95% interval, the baseline dashed."""
    metrics = list(dict.fromkeys(lines["metric"]))
    figure = canvas(1.5 + 4 * len(metrics), 4.2)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    places = _places(order)
    for panel, metric in zip(panels, metrics, strict=True):
        scores = lines[lines["metric"] == metric]
        style = styles(lines["method"].unique())
        for label, own in scores.groupby("method", sort=False):
            _line(panel, str(label), own, [places[value] for value in own[key]], style)
        _ticks(panel, key, places)
        tidy(panel, MEASURE_TITLES.get(metric, metric), bool(scores["higher_is_better"].iloc[0]))
    headline(
        figure, f"{task} by {key}", [model], [f"bands: 95% intervals over {int(lines['users_answered'].max())} users"]
    )
    legend(figure, panels[0])
    return figure


def _line(panel: Axes, label: str, own: pd.DataFrame, x: list[float], style: dict[str, tuple[str, str]]) -> None:
    order = np.argsort(x, kind="stable")
    ordered, at = own.iloc[order], np.asarray(x)[order]
    if label == BASELINE:
        panel.plot(at, ordered["value"], color=REFERENCE, linestyle="--", marker=".", label=label)
        return
    colour, marker = style[label]
    panel.plot(at, ordered["value"], color=colour, marker=marker, markersize=5, label=plain(label))
    panel.fill_between(at, ordered["low"].astype(float), ordered["high"].astype(float), color=colour, alpha=0.12)


def _places(order: Sequence[str]) -> dict[str, float]:
    """Where each value of an axis stands: at itself if all are numbers, else one after the other."""
    try:
        return {value: float(value) for value in order}
    except ValueError:
        return {value: float(index) for index, value in enumerate(order)}


def _ticks(panel: Axes, key: str, places: dict[str, float]) -> None:
    positive = [place for place in places.values() if place > 0]
    if positive and max(positive) > _SPREAD * min(positive):
        panel.set_xscale("symlog", linthresh=min(positive))
    panel.set_xticks(list(places.values()), [plain(value) or "–" for value in places], parse_math=False)
    panel.set_xticks([], minor=True)
    panel.set_xlabel(key, parse_math=False)


def heat_maps(
    lines: pd.DataFrame, title: str, keys: Sequence[str], grid: Sequence[Sequence[str]], model: str
) -> Figure:
    """One map per method whose score varies, all on one colour scale; the first axis runs down, the second across."""
    by_method = {str(method): own for method, own in lines.groupby("method", sort=False)}
    constant = {m: own["value"].iloc[0] for m, own in by_method.items() if own["value"].nunique() == 1}
    drawn = [m for m in by_method if m not in constant] or list(by_method)
    columns = min(_COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    height, width = 0.45 * len(grid[0]) + 0.9, max(2.2, 0.75 * len(grid[1]) + 1.0)
    figure = canvas(columns * width + 1.8, rows * height + 1.1)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    higher = bool(lines["higher_is_better"].iloc[0])
    scale = {"vmin": lines["value"].min(), "vmax": lines["value"].max(), "cmap": "viridis" if higher else "viridis_r"}
    for panel, method in zip(panels, drawn, strict=False):
        image = _map(panel, by_method[method], keys, grid, scale)
        panel.set_title(plain(method), fontsize=9, parse_math=False)
    for panel in panels[len(drawn) :]:
        panel.set_visible(False)
    bar = figure.colorbar(image, ax=list(panels[: len(drawn)]), shrink=0.9)
    bar.set_label("brighter is better", fontsize=8)
    notes = [f"{m} {number(value)} at every point" for m, value in constant.items() if m not in drawn]
    headline(figure, title, [model], notes)
    return figure


def _map(
    panel: Axes, own: pd.DataFrame, keys: Sequence[str], grid: Sequence[Sequence[str]], scale: dict[str, Any]
) -> Any:
    table = own.pivot_table("value", keys[0], keys[1], sort=False)
    scores = table.reindex(index=list(grid[0]), columns=list(grid[1])).to_numpy()
    image = panel.imshow(scores, aspect="auto", **scale)
    for (row, column), value in np.ndenumerate(scores):
        if np.isnan(value):
            panel.text(column, row, "–", ha="center", va="center", color=REFERENCE)
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        panel.text(column, row, number(value), ha="center", va="center", color=ink, fontsize=8)
    panel.set_xticks(range(len(grid[1])), [plain(v) or "–" for v in grid[1]], parse_math=False, fontsize=8)
    panel.set_yticks(range(len(grid[0])), [plain(v) or "–" for v in grid[0]], parse_math=False, fontsize=8)
    panel.set_xlabel(keys[1], fontsize=8, parse_math=False)
    panel.set_ylabel(keys[0], fontsize=8, parse_math=False)
    return image
