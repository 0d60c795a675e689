"""The figures that tell for whom a method works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.comparison import Comparison, Row
from harness.formatting import counted, share
from harness.reporting.canvas import canvas, direction
from harness.reporting.comparison_tables import history_bins, history_range
from harness.reporting.drawing import (
    BASE,
    LEADER,
    OTHER,
    answered,
    headline,
    leaders,
    lines,
    margin,
    point,
    style,
)
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = 41  # odd, so that a gain of zero has a bar of its own
_TALLEST = 0.8  # of a method's line


def users(comparison: Comparison, task: str) -> Figure:
    """A histogram of the users per method: of their own scores and, where instruct answered, of their gains over it."""
    shown = answered(comparison, task)
    metric, higher = next(iter(comparison.higher_is_better[task].items()))
    compared = any(row.gain_quartiles for row in shown if row.label != BASELINE)
    drawn = canvas(margin(shown) + 4.4 * (1 + compared), 1.9 + 0.42 * len(shown))
    panels = drawn.subplots(1, 1 + compared, sharey=True, squeeze=False)[0]
    _scores(panels[0], comparison, shown, metric)
    panels[0].set_xlabel(f"{direction(metric, higher)}\nusers; | mean, ▲ mean of the worst tenth")
    if compared:
        _gains(panels[1], comparison, shown)
        panels[1].set_xlabel(
            f"gain over {BASELINE} in {metric}  →  better\nusers; left the share worse off, right better off"
        )
    lines(panels, shown)
    panels[0].set_ylim(len(shown) - 0.3, -0.5)  # with room for the last method's mark
    headline(drawn, comparison, f"{task}: how {max(row.users for row in shown)} users fare by themselves")
    return drawn


def history(comparison: Comparison, task: str) -> Figure:
    """One panel per range of history lengths, one line per method: score, interval, and instruct's as a reference."""
    shown = answered(comparison, task)
    metric, higher = next(iter(comparison.higher_is_better[task].items()))
    bins, best = history_bins(shown), leaders(comparison, task, metric)
    drawn = canvas(margin(shown) + 2.6 * len(bins), 1.8 + 0.34 * len(shown))
    panels = drawn.subplots(1, len(bins), sharex=True, sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, bins, strict=True):
        for height, row in enumerate(shown):
            for own in (own for own in row.by_history if own.low == found.low):
                point(axes, style(row, best), own.value, own.interval, height)
                if row.label == BASELINE:
                    axes.axvline(own.value, color=BASE, linewidth=1, linestyle="--", zorder=1)
        axes.set_title(f"{history_range(found)}\n{counted(found.users, 'user')}", fontsize=9)
        axes.set_xlabel(direction(metric, higher))
    lines(panels, shown)
    headline(drawn, comparison, f"{task}: scores and 95% intervals by length of the users' histories")
    return drawn


def _scores(axes: Axes, comparison: Comparison, shown: Sequence[Row], metric: str) -> None:
    values = {row.label: _of(comparison, row, "value") for row in shown}
    every = [value for own in values.values() for value in own]
    best = leaders(comparison, shown[0].task, metric)
    for height, row in enumerate(shown):
        _histogram(axes, values[row.label], (min(every), max(every)), height, [style(row, best)["color"]] * _BARS)
        for value, place, mark, size in ((row.per_user_mean, 0.2, "|", 11), (row.worst_decile, 0.5, "^", 5)):
            if value is not None:
                axes.plot(value, height + place, marker=mark, markersize=size, color="black", linestyle="none")


def _gains(axes: Axes, comparison: Comparison, shown: Sequence[Row]) -> None:
    gains = {row.label: _of(comparison, row, "gain") for row in shown if row.label != BASELINE}
    widest = max(abs(gain) for own in gains.values() for gain in own) or 1.0
    colours = [BASE] * (_BARS // 2) + [OTHER] + [LEADER] * (_BARS // 2)
    axes.set_xlim(-1.45 * widest, 1.45 * widest)  # with room for the shares
    for height, row in enumerate(shown):
        if gains.get(row.label):
            _histogram(axes, gains[row.label], (-widest, widest), height, colours)
            for place, part, colour in ((-1.25, row.regret_rate, BASE), (1.25, row.better_rate, LEADER)):
                axes.text(place * widest, height + 0.1, share(part), ha="center", fontsize=8, color=colour)


def _of(comparison: Comparison, row: Row, field: str) -> list[float]:
    """A number of every user of a row, where it is known."""
    key = (row.task, row.method, row.variant)
    own = [user for user in comparison.users if (user.task, user.method, user.variant) == key]
    return [value for value in (getattr(user, field) for user in own) if value is not None]


def _histogram(
    axes: Axes, values: Sequence[float], span: tuple[float, float], height: int, colours: Sequence[str]
) -> None:
    """Bars that stand on the lower edge of a method's line, the tallest filling it; the axis points down.

    The outermost of the equal bins are centred on the ends of the span. A bar stands at the mean of its values, so that
    scores of a few levels only stand where they are.
    """
    import numpy as np

    low, high = span
    step = (high - low) / (_BARS - 1) or 1.0
    edges = low + step * (np.arange(_BARS + 1) - 0.5)
    counts, sums = np.histogram(values, edges)[0], np.histogram(values, edges, weights=values)[0]
    kept = counts > 0
    tall = _TALLEST * counts[kept] / counts.max()
    shades = [colour for colour, keep in zip(colours, kept, strict=True) if keep]
    axes.bar(sums[kept] / counts[kept], -tall, width=step, bottom=height + 0.4, color=shades, alpha=0.75)
    axes.axhline(height + 0.4, color="#dddddd", linewidth=0.6, zorder=0)
