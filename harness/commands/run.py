"""`harness run`: one point of a sweep, as `wandb agent` asks for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import path_option


def run(
    context: typer.Context,
    out: Annotated[Path, path_option("Results folder; calls that share it share finished cells.")] = Path(
        "runs/points"
    ),
    wandb: Annotated[
        str | None, typer.Option(envvar="WANDB_MODE", help="Default: online under `wandb agent`, else offline.")
    ] = None,
) -> None:
    """Run one point, given as --key=value with the keys of a sweep file. `wandb agent` calls this.

    Example:

      harness run --methods=instruct,chameleon --tasks=lamp3 --budget=60s --history=4 --chameleon.num_layers=2
    """
    from harness.commands.terminal import announce, console, warn_if_crowded
    from harness.quiet import quieten_libraries

    announce()
    quieten_libraries()
    from harness.reporting.wandb_session import require_mode
    from harness.sweeps.sweeping import read_arguments, run_one

    warn_if_crowded()
    mode = require_mode(wandb or ("online" if "WANDB_SWEEP_ID" in os.environ else "offline"))
    sys.exit(run_one(read_arguments(context.args), out, mode, console))
