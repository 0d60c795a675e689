"""`harness data`: look at data before a run; plug-ins add ways to get them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import path_argument
from harness.registry import usable_tasks

app = typer.Typer(help="Get data, or look at it before a run.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(folder: Annotated[Path, path_argument("A directory of LaMP files.")]) -> None:
    """Name file, record and field of every fault in a directory of LaMP files. Exit status 1 if there is any."""
    sys.exit(_run_check(folder))


def _run_check(folder: Path) -> int:
    """Print what a directory of LaMP files holds and every fault in it; 1 if there is any."""
    from rich.table import Table
    from rich.text import Text

    from harness.commands.terminal import console
    from harness.conformance.data_check import check_data
    from harness.formatting import plain

    def say(text: str, style: str = "") -> None:
        console.print(Text(plain(text), style), soft_wrap=True)

    reports = check_data(usable_tasks(), str(folder))
    table = Table("task", "split", "queries", "users", "history min/median/max", "leaking queries/items", "faults")
    for report in reports:
        sizes = "/".join(f"{size:g}" for size in report.history)
        leaks = f"{report.leaky_queries}/{report.leaky_items}"
        counts = (report.queries, report.users, sizes, leaks, len(report.faults))
        shown = map(str, counts) if report.queries else "–" * len(counts)
        table.add_row(report.task, Text(plain(report.split)), *shown)
    console.print(table)
    for report in reports:
        place = f"{report.task} {report.split}".rstrip()
        for note in report.notes:
            say(f"{place}: {note}")
        if report.error:
            say(f"{place}: {report.error}", "red")
        for fault in report.faults:
            say(str(fault), "yellow")
    return int(any(report.error or report.faults for report in reports))
