"""What all figures share: an empty one, colours, a headline and a legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.formatting import plain
from harness.reporting.instruments import with_instruments
from harness.results.writing import replacing
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind palette, and greys
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#767676"
REFERENCE = "#555555"  # the baseline's dashed line
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000")
_MARKERS = "osD^vPX"


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def styles(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each method but the baseline, in order; they repeat out of step after seven."""
    others = [label for label in labels if label != BASELINE]
    return {
        label: (_COLOURS[index % len(_COLOURS)], _MARKERS[(index + index // len(_COLOURS)) % len(_MARKERS)])
        for index, label in enumerate(others)
    }


def headline(figure: Figure, title: str, models: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Title and, in small print, what a reader must know; says so if a model is a test instrument."""
    tested = with_instruments(models)
    small = "; ".join([*notes, *([f"made {tested}"] if tested else [])])
    figure.suptitle(f"{plain(title)}\n" if small else plain(title), fontsize=11)
    below = 1 - 0.046 / figure.get_figheight()  # as far from the title in a tall figure as in a low one
    figure.text(0.5, below, f"\n\n{plain(small)}", ha="center", va="top", fontsize=8, color=REFERENCE)


def direction(metric: str, higher_is_better: bool) -> str:
    """The label of a metric's axis, which says which way is better."""
    return f"{metric}  →  better" if higher_is_better else f"better  ←  {metric}"


def legend(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, below them."""
    handles, labels = axes.get_legend_handles_labels()
    found = figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=8, frameon=False
    )
    for text in found.get_texts():
        text.set_parse_math(False)


def tidy(axes: Axes, metric: str, higher_is_better: bool) -> None:
    """A light grid, and which way is better on the y axis."""
    axes.set_ylabel(direction(metric, higher_is_better))
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
