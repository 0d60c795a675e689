"""`harness data`: look at data before a run; plug-ins add ways to get them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.registry import TASKS

app = typer.Typer(help="Get data, or look at it before a run.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(folder: Annotated[Path, typer.Argument(help="A directory of LaMP files.")]) -> None:
    """Name file, record and field of every fault in a directory of LaMP files. Exit status 1 if there is any."""
    sys.exit(_run_check(folder))


def _run_check(folder: Path) -> int:
    """Print what a directory of LaMP files holds and every fault in it; 1 if there is any."""
    from rich.markup import escape
    from rich.table import Table

    from harness.commands.terminal import console
    from harness.conformance.data_check import check_data

    reports = check_data([TASKS.get(name)() for name in TASKS.names()], str(folder))
    table = Table("task", "split", "queries", "users", "history min/median/max", "leaking queries", "faults")
    for report in reports:
        sizes = "/".join(f"{size:g}" for size in report.history)
        counts = (report.queries, report.users, sizes, report.leaky_queries, len(report.faults))
        table.add_row(report.task, report.split, *map(str, counts))
    console.print(table)
    for report in reports:
        for note in report.notes:
            console.print(f"{report.task} {report.split}: {escape(note)}", highlight=False, soft_wrap=True)
        if report.error:
            console.print(f"[red]{report.task} {report.split}: {escape(report.error)}[/red]", soft_wrap=True)
        for fault in report.faults:
            console.print(f"[yellow]{escape(str(fault))}[/yellow]", highlight=False, soft_wrap=True)
    return int(any(report.error or report.faults for report in reports))
