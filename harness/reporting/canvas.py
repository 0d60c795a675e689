"""What the line plots and heat maps share: an empty figure, colours, a headline and a legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.comparison import BASELINE
from harness.reporting.formatting import plain
from harness.reporting.words import INSTRUMENTS
from harness.results import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE = "#555555"  # the baseline's dashed line
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
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


def headline(figure: Figure, title: str, model: str, notes: Sequence[str] = ()) -> None:
    """Title and, in small print, what a reader must know; says so if the model is a test instrument."""
    small = [*notes, *([f"made with {model}, a test instrument"] if model in INSTRUMENTS else [])]
    figure.suptitle("\n".join([plain(title), ""] if small else [plain(title)]), fontsize=11)
    figure.text(0.5, 0.985, "\n\n" + plain("; ".join(small)), ha="center", va="top", fontsize=8, color=REFERENCE)


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
    axes.set_ylabel(f"{metric}  →  better" if higher_is_better else f"better  ←  {metric}")
    axes.grid(color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
