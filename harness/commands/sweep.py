"""`harness sweep`: every point of a sweep file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.api import HarnessError
from harness.commands.options import ExecutorName, Wandb, path_argument, path_option

if TYPE_CHECKING:
    from harness.repeats.finished import Call
    from harness.sweeps.sweep_spec import SweepSpec


def sweep(
    file: Annotated[Path, path_argument("A sweep file; see README, section Sweeps.")],
    out: Annotated[Path | None, path_option("Results folder (default: runs/<the sweep's name>).")] = None,
    preset: Annotated[str | None, typer.Option(help="The preset where the file names none (default tiny).")] = None,
    wandb: Wandb = "offline",
    executor: ExecutorName = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print points, cells and time, and stop.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what --out holds.")] = False,
) -> None:
    """Run every point of a sweep file, and put them into one table and plots.

    What points share is computed once, and finished cells are never computed again: repeat the command after Ctrl-C.
    Exit status 1 if a method failed at some point, 2 if the file cannot run as given.
    """
    from harness.commands.terminal import announce, console, warn_if_crowded
    from harness.quiet import quieten_libraries
    from harness.repeats.finished import Call
    from harness.sweeps.sweep_spec import default_folder, expand, read_sweep

    read = read_sweep(file)
    call = Call("sweep", {"file": file, "content": file.read_bytes().hex(), "preset": preset})
    folder = out or default_folder(read)
    if executor == "local" and not (fresh or dry_run) and _repeat(call, read, folder, wandb):
        return
    announce()
    quieten_libraries()
    from harness.executors.ray_pool import OF_ONE_WORKER, require_executor
    from harness.reporting.wandb_session import require_mode
    from harness.sweeps.sweeping import print_plan, run_sweep

    try:
        points = expand(read, preset)
    except HarnessError as error:
        raise HarnessError(f"{file}: {error}") from error
    chosen = require_executor(executor)
    print_plan(read, points, folder, fresh, console)
    if chosen == "ray":
        console.print(OF_ONE_WORKER, soft_wrap=True)
    if not dry_run:
        warn_if_crowded()
        sys.exit(run_sweep(read, points, folder, require_mode(wandb), fresh, console, chosen, call))


def _repeat(call: Call, read: SweepSpec, out: Path, wandb: str) -> bool:
    """Print what the folder holds if the same sweep has finished there and nothing it was made from has changed."""
    from harness.sweeps.finished_sweep import conclude, finished_sweep

    found = finished_sweep(call, out)
    if found is None:
        return False
    from harness.commands.terminal import console, repeating

    results, written = found
    with repeating(call, out, wandb) as mode:
        console.print(
            f"{len(results)} points in {out}: all of it is finished, and nothing that it was made from has changed.",
            soft_wrap=True,
        )
        conclude(read, results, written, out, mode, console, call)
    return True
