"""What the figures of a comparison share: a line per method, its name, colour and mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import Comparison, Row
from harness.formatting import plain
from harness.reporting import canvas
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEADER, OTHER, BASE = canvas.BLUE, canvas.GREY, canvas.VERMILION
_WIDTH = 60  # characters of a method's name before its middle is cut


def answered(comparison: Comparison, task: str) -> list[Row]:
    """A task's methods that have answers, their seeds pooled."""
    return [row for row in comparison.pooled if row.task == task and row.metrics]


def leaders(comparison: Comparison, task: str, metric: str) -> set[str]:
    """The best method and all that tie with it."""
    found = [ranking for ranking in comparison.rankings if (ranking.task, ranking.metric) == (task, metric)]
    return {label for ranking in found for label in (ranking.best, *ranking.tied)}


def headline(figure: Figure, comparison: Comparison, text: str) -> None:
    """What is shown, and what the colours mean."""
    canvas.headline(figure, text, [comparison.spec.model], ["blue: best, or not told apart from it"])


def shown_name(row: Row) -> str:
    """A method's name, short enough for an axis."""
    name = plain(row.label)
    if len(name) > _WIDTH:  # variants differ at the end
        name = f"{name[: _WIDTH // 2]}…{name[1 - _WIDTH // 2 :]}"
    return f"{name} (overran)" if row.status == "overran" else name


def margin(shown: Sequence[Row]) -> float:
    """Inches that the methods' names take beside the panels."""
    return max(2.0, 0.6 + 0.08 * max(len(shown_name(row)) for row in shown))


def style(row: Row, leaders: set[str]) -> dict[str, Any]:
    """Colour and shape both tell the kinds apart: instruct a diamond, leaders filled, others hollow."""
    colour = BASE if row.label == BASELINE else LEADER if row.label in leaders else OTHER
    shape = "D" if row.label == BASELINE else "o"
    return {"color": colour, "marker": shape, "markerfacecolor": colour if row.label in leaders else "white"}


def point(axes: Axes, style: dict[str, Any], value: float, interval: tuple[float, float] | None, height: int) -> None:
    """A value on the line of its method, with its interval."""
    if interval:
        axes.hlines(height, *interval, color=style["color"], linewidth=2)
    axes.plot(value, height, linestyle="none", markersize=7, **style)


def lines(panels: Sequence[Axes], found: Sequence[Row]) -> None:
    """Give panels side by side a line per method, named at the left."""
    for axes in panels:
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(found)), [shown_name(row) for row in found], parse_math=False)
    panels[0].set_ylim(len(found) - 0.5, -0.5)
