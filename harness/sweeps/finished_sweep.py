"""A finished `harness sweep`: noted where the cells of all points have ended, and read where nothing has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.repeats.finished import NOTE, Call
from harness.repeats.finished_run import all_ended
from harness.repeats.tracked_once import leave_tracked
from harness.reporting.stored_comparison import read_comparison, reads_back
from harness.reporting.wandb_session import Mode
from harness.results.disk import require_folder
from harness.results.locking import alone
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_report import Written, print_results
from harness.sweeps.sweep_spec import Point, SweepSpec
from harness.sweeps.sweep_tracking import track_sweep


def finished_sweep(call: Call, out: Path) -> tuple[list[PointResult], Written] | None:
    """What the sweep in `out` came to and wrote, if the same call finished there and nothing has changed since.

    Raises HarnessError if another run is using the folder, or if nothing can be written there.
    """
    if not (out / NOTE).exists():
        return None
    with alone(require_folder(out)):
        note = call.finished(out)
        results = _read(out) if note else None
    if note is None or results is None:
        return None
    paths, plots = ([out / name for name in note.kept[kind]] for kind in ("paths", "plots"))
    return results, Written(paths, plots, note.kept["why_no_plot"])


def leave_sweep(call: Call, results: Sequence[PointResult], written: Written, out: Path) -> None:
    """Note that the call has finished in `out`, which it holds, unless cells are to be tried again when repeated."""
    if not all_ended([result.comparison for result in results]):
        return
    if _read(out) == list(results) and all(reads_back(result.comparison, result.folder) for result in results):
        kept = {
            "paths": [path.relative_to(out).as_posix() for path in written.paths],
            "plots": [path.relative_to(out).as_posix() for path in written.plots],
            "why_no_plot": written.why_no_plot,
        }
        call.leave(out, kept)


def conclude(
    sweep: SweepSpec,
    results: Sequence[PointResult],
    written: Written,
    out: Path,
    wandb: Mode,
    console: Console,
    call: Call | None = None,
) -> None:
    """Print what a sweep came to, and log it."""
    print_results(results, written, console)
    run = track_sweep(sweep, results, written, out, wandb)
    if call is not None:
        leave_tracked(call, out, run)
    console.print(Text(f"\nTables, plots and records: {out}"), soft_wrap=True)


def _read(out: Path) -> list[PointResult] | None:
    """The points in sweep.json; None where that, or a comparison, cannot be read."""
    try:
        points = json.loads((out / "sweep.json").read_text(encoding="utf-8"))["points"]
    except (OSError, ValueError, KeyError):
        return None
    results = []
    for point in points:
        comparison = read_comparison(out / point["folder"])
        if comparison is None:
            return None
        results.append(PointResult(Point(point["values"], comparison.spec), out / point["folder"], comparison))
    return results
