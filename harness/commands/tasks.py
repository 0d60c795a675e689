"""`harness tasks`: list the tasks, or validate them."""

from __future__ import annotations

import sys

import typer

from harness.api import HarnessError, MissingError
from harness.commands.listing import AsJson, print_listing
from harness.registry import TASKS, make_task

app = typer.Typer(help="List the tasks, or validate them.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def tasks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tasks."""
    if context.invoked_subcommand is None:
        print_listing({"task": TASKS}, as_json)


@app.command("validate")
def validate() -> None:
    """Check every task: the gold answer scores perfectly, the prompts contain what the paper's do."""
    sys.exit(_run_validate())


def _run_validate() -> int:
    """Check every registered task that has synthetic data on it; 1 if one has a problem."""
    from harness.commands.terminal import console
    from harness.conformance.task_checks import check_task
    from harness.formatting import counted, plain
    from harness.running.task_data import read_split

    failed = 0
    for name in TASKS.names():
        try:
            task = make_task(name)
            problems = check_task(task, read_split(task, "synthetic", "dev"))
        except MissingError as error:
            console.print(f"not checked: {error}", style="yellow", soft_wrap=True)
            continue
        except HarnessError as error:
            problems = [str(error)]
        failed += bool(problems)
        found = counted(len(problems), "problem") if problems else "valid"
        console.print(f"{name}: {found}", style="red" if problems else "green")
        for problem in problems:
            console.print(f"  {plain(problem)}", soft_wrap=True)
    return int(failed > 0)
