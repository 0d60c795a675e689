"""What `harness sweep` and `harness run` do."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.api import HarnessError
from harness.executors.ray_pool import Executor
from harness.formatting import counted, seconds
from harness.repeats.finished import Call
from harness.repeats.run_inputs import run_inputs
from harness.reporting.comparison_report import print_report
from harness.reporting.tracking import track
from harness.reporting.wandb_session import Mode
from harness.results.disk import require_folder
from harness.results.locking import alone
from harness.results.store import Store
from harness.running.progress import Display
from harness.specs.run_spec import parse_value
from harness.sweeps.finished_sweep import conclude, leave_sweep
from harness.sweeps.planned_cells import cells_left, distinct_cells
from harness.sweeps.points import run_points
from harness.sweeps.sweep_report import write
from harness.sweeps.sweep_spec import Point, SweepSpec, run_spec


def print_plan(sweep: SweepSpec, points: Sequence[Point], out: Path, fresh: bool, console: Console) -> None:
    """Points, distinct cells and the most that fitting can take, of all and, unless all are discarded, what is left."""
    table = Table("point", "setting", "methods", "tasks", "seeds", "budget")
    for number, point in enumerate(points, start=1):
        spec = point.spec
        row = (point.label, ", ".join(m.label for m in spec.methods), ", ".join(spec.tasks))
        table.add_row(str(number), *map(Text, row), ", ".join(map(str, spec.seeds)), seconds(spec.budget))
    console.print(table)
    cells = distinct_cells(points)
    asked = sum(point.spec.size for point in points)
    left = list(cells) if fresh else cells_left(cells, Store(out).ended())
    rest = f", {seconds(sum(cells[cell] for cell in left))} of it for what is left, {counted(len(left), 'cell')}"
    text = (
        f"{len(points)} points ask for {asked} cells, {len(cells)} of them distinct (shared ones are computed once): "
        f"at most {seconds(sum(cells.values()))} of fitting{rest if len(left) < len(cells) else ''}, loading and "
        f"answering besides. Results: {out}"
    )
    console.print(Text(text), soft_wrap=True)


def run_sweep(
    sweep: SweepSpec,
    points: Sequence[Point],
    out: Path,
    wandb: Mode,
    fresh: bool,
    console: Console,
    executor: Executor = "local",
    call: Call | None = None,
) -> int:
    """Compute, print and write a sweep; 1 if a method failed at some point, else 0.

    By the note of `call`, if one is given, its repetition will know that there is nothing to do. Raises HarnessError
    where `out` holds a comparison.
    """
    require_folder(out)
    _require_no_comparison(out)
    with alone(out):
        if call is not None and executor == "local":
            call.reads(run_inputs([point.spec for point in points]))
        with Display(console) as display:
            results = run_points(points, out, display, fresh, executor=executor, call=call)
        written = write(sweep, results, out)
        if call is not None:
            leave_sweep(call, results, written, out)
    conclude(sweep, results, written, out, wandb, console, call)
    return int(any(row.status == "failed" for result in results for row in result.comparison.rows))


def run_one(settings: dict[str, Any], out: Path, wandb: Mode, console: Console) -> int:
    """Compute and print one point, and log it into the run that `wandb agent` opened; 1 if a method failed, else 0.

    Raises HarnessError where `out` holds a comparison.
    """
    point = Point(settings, run_spec(settings))
    _require_no_comparison(out)
    with Display(console) as display:
        [result] = run_points([point], out, display)
    print_report(result.comparison, console)
    track(result.comparison, result.folder, wandb)
    console.print(Text(f"\nTables, plots and records: {result.folder}"), soft_wrap=True)
    return int(any(row.status == "failed" for row in result.comparison.rows))


def _require_no_comparison(out: Path) -> None:
    if (out / "run.json").exists():
        raise HarnessError(
            f"{out} holds a comparison, whose files a sweep would mix with its own. Choose another --out."
        )


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings from --key=value, as `wandb agent` writes them: a list or a boolean comes as Python prints it."""
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise HarnessError(
                f"Cannot read '{argument}'. Write --key=value, as in --history=4 or --chameleon.layers=[1]."
            )
        settings[key] = _value(value)
    return settings


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last three: what nests too deeply
        return parse_value(text)
