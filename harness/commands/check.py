"""`harness check`: the regression gate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import HarnessError
from harness.commands.options import path_option


def check(
    baseline: Annotated[Path, path_option("The baseline file, e.g. leaderboards/ci.json.")],
    update: Annotated[bool, typer.Option("--update", help="Accept what comes out as the new baseline.")] = False,
    methods: Annotated[
        str | None, typer.Option(help="With --update: begin a baseline of these methods (as in `harness compare`).")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="With --methods: names of tasks (default: the preset's).")] = None,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="With --methods: model and hyperparameters (default tiny).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="With --methods: instead of the preset's model.")] = None,
    data: Annotated[str | None, typer.Option(help="With --methods: synthetic, or a directory of LaMP files.")] = None,
    users: Annotated[int | None, typer.Option(help="With --methods: how many users to evaluate (default 16).")] = None,
) -> None:
    """Repeat the runs of a baseline and report every metric, answer and counter that came out otherwise.

    Seconds and memory are not compared. Exit status 0 if all is as in the baseline, 1 if not, 2 if there is no usable
    baseline. A difference that is meant is accepted with --update, which prints what it accepts; review the file's
    diff and commit it.

    Examples:

      harness check --baseline leaderboards/ci.json

      harness check --baseline my.json --update --methods instruct,mine --tasks lamp3
    """
    if methods is not None and not update:
        raise HarnessError("--methods begins a new baseline, which takes --update.")
    asked = {"--tasks": tasks, "--preset": preset_name, "--model": model, "--data": data, "--users": users}
    given = [option for option, value in asked.items() if value is not None]
    if methods is None and given:
        raise HarnessError(
            f"{', '.join(given)} would change nothing: the runs of {baseline} are repeated as they are. Leave it out, "
            "or begin a new baseline with --update --methods."
        )
    from harness.commands.terminal import announce, console, warn_if_crowded
    from harness.quiet import quieten_libraries

    announce()
    quieten_libraries()
    from harness.gate import gating

    warn_if_crowded()
    try:
        if not update:
            sys.exit(gating.check(baseline, console))
        specs = gating.plan(methods, tasks, preset_name or "tiny", model, data, 16 if users is None else users)
        sys.exit(gating.update(baseline, specs, console))
    except KeyboardInterrupt as stop:
        said = f"No cell is kept, and {baseline} is as it was: the same command begins again."
        raise KeyboardInterrupt(said) from stop
