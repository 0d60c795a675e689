"""`harness sweep`: every point of a sweep file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import HarnessError
from harness.commands.options import ExecutorName, Wandb, path_argument, path_option


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
    from harness.commands.terminal import announce, console, quieten_libraries, warn_if_crowded

    announce()
    quieten_libraries()
    from harness.executors.ray_pool import require_executor
    from harness.reporting.wandb_session import require_mode
    from harness.sweeps.sweep_spec import expand, read_sweep
    from harness.sweeps.sweeping import default_folder, print_plan, run_sweep

    read = read_sweep(file)
    try:
        points, folder = expand(read, preset), out or default_folder(read)
    except HarnessError as error:
        raise HarnessError(f"{file}: {error}") from error
    chosen = require_executor(executor)
    print_plan(read, points, folder, console)
    if not dry_run:
        warn_if_crowded()
        sys.exit(run_sweep(read, points, folder, require_mode(wandb), fresh, console, chosen))
