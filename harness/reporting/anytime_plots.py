"""The anytime plot: what each method would have answered had its fit been stopped earlier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.analysis.comparison import Comparison, Row
from harness.api import HarnessError
from harness.formatting import markdown, plain
from harness.reporting.canvas import REFERENCE, canvas, headline, legend, save, styles, tidy
from harness.results.store import Store
from harness.running.checkpoints import Anytime, read
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Score against seconds of the fit. Filled: the whole fit. Hollow: a checkpoint of the same fit, not annealed: its "
    "learning rate was planned for the whole budget, so it does not stand for a fit with that budget."
)


@dataclass(frozen=True)
class Fit:
    """One cell's method, seed and points."""

    label: str
    seed: int
    anytime: Anytime


def write_anytime(comparison: Comparison, out: Path) -> list[Path]:
    """Write `plots/<task>-anytime.png` for every task of a run with marks."""
    paths = []
    for task in comparison.spec.tasks if comparison.spec.marks else ():
        fits = list(read_fits(Store(out), task))
        if fits:
            (out / "plots").mkdir(parents=True, exist_ok=True)
            paths.append(save(figure(comparison, task, fits), out / "plots" / f"{task}-anytime.png"))
    return paths


def sections(out: Path, task: str) -> list[str]:
    """What `comparison.md` says of a task's checkpoints: the plot, and the marks without one."""
    if not (out / "plots" / f"{task}-anytime.png").exists():
        return []
    missing = [
        f"- {markdown(fit.label)}, seed {fit.seed}: none at {gone.mark:g} s, {gone.reason}"
        for fit in read_fits(Store(out), task)
        for gone in fit.anytime.missing
        if fit.label != BASELINE
    ]
    return [
        f"![Anytime: {CAPTION}](plots/{quote(task)}-anytime.png)",
        CAPTION,
        *(["\n".join(missing)] if missing else []),
    ]


def read_fits(store: Store, task: str) -> Iterator[Fit]:
    """The task's cells that have anytime points; of what cannot be read the comparison says that it is left out."""
    for record in store.records():
        if record.spec.task != task or not record.metrics:
            continue
        try:
            anytime = read(store, record.spec)
        except HarnessError:
            continue
        if anytime is not None:
            yield Fit(record.spec.label, record.spec.seed, anytime)


def figure(comparison: Comparison, task: str, fits: list[Fit]) -> Figure:
    """A panel per metric, a line per fit from its first checkpoint to its end; the baseline's score as a reference."""
    metrics = comparison.higher_is_better[task]
    drawn = canvas(1.5 + 4 * len(metrics), 4.4)
    panels = drawn.subplots(1, len(metrics), squeeze=False)[0]
    style = styles(dict.fromkeys(fit.label for fit in fits))
    for panel, (metric, higher) in zip(panels, metrics.items(), strict=True):
        for row in comparison.pooled:
            if (row.task, row.label) == (task, BASELINE) and row.metrics:
                _reference(panel, row, metric)
        for fit in fits:
            if fit.label != BASELINE:
                _line(panel, fit, metric, *style[fit.label])
        panel.set_xlabel("seconds of the fit until the answer was ready")
        panel.set_xlim(left=0)
        tidy(panel, metric, higher)
    note = ["filled: the whole fit", "hollow: a checkpoint of it, not annealed"]
    headline(drawn, f"{task}: what an earlier stop would have given", [comparison.spec.model], note)
    legend(drawn, panels[0])
    return drawn


def _reference(panel: Axes, row: Row, metric: str) -> None:
    panel.axhline(row.metrics[metric], color=REFERENCE, linestyle="--", linewidth=1, label=BASELINE, zorder=1)


def _line(panel: Axes, fit: Fit, metric: str, colour: str, marker: str) -> None:
    points = sorted((point for point in fit.anytime.points if metric in point.metrics), key=lambda point: point.ready)
    label = plain(fit.label)
    panel.plot([p.ready for p in points], [p.metrics[metric] for p in points], color=colour, linewidth=1.2)
    for annealed, face in ((False, "white"), (True, colour)):
        own = [point for point in points if point.annealed is annealed]
        panel.plot(
            [point.ready for point in own],
            [point.metrics[metric] for point in own],
            linestyle="none",
            color=colour,
            marker=marker,
            markerfacecolor=face,
            label=label if annealed and label not in panel.get_legend_handles_labels()[1] else None,
        )
