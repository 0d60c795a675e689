"""What the commands do, behind the imports that they need."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TextColumn
from rich.table import Table

from harness.api import HarnessError
from harness.registry import TASKS
from harness.spec import RunSpec

WIDTH = 150  # columns where no terminal says how wide it is, so that tables in a log are not folded

console = Console(width=None if sys.stdout.isatty() else WIDTH)


def announce() -> None:
    """Say at once that work has begun: the imports that come next take seconds."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    console.print("[dim]Importing torch and the methods ...[/dim]")


def run_compare(spec: RunSpec, out: Path | None, wandb: str, save_fits: bool, fresh: bool, dry_run: bool) -> int:
    """Run a comparison under a live view and print what came out; 1 if a method failed, else 0."""
    cells = len(spec.tasks) * len(spec.methods) * len(spec.seeds)
    console.print(
        f"{len(spec.methods)} methods x {len(spec.tasks)} tasks x {len(spec.seeds)} seeds = {cells} cells, "
        f"model {spec.model}, data {spec.data}, at most {spec.budget:g}s of fitting each",
        highlight=False,
    )
    if dry_run:
        _print_plan(spec)
        return 0
    quieten_libraries()
    from harness.library import default_folder, run
    from harness.progress import Display
    from harness.reporting.report import print_report
    from harness.reporting.tracking import require_mode, track

    mode = require_mode(wandb)
    folder = out or default_folder(spec)
    if (folder / "run.json").exists() and not fresh:
        console.print(f"Going on in {folder}: what is finished there is not computed again.")
    with Display(console) as display:
        comparison = run(spec, folder, save_fits, fresh, display)
    print_report(comparison, console)
    track(comparison, folder, mode)
    console.print(f"\nTables, plots and records: {folder}", highlight=False, soft_wrap=True)
    return int(any(row.status == "failed" for row in comparison.rows))


def _print_plan(spec: RunSpec) -> None:
    table = Table("task", "method", "seed", "budget")
    for task in spec.tasks:
        for seed in spec.seeds:
            for method in spec.methods:
                table.add_row(task, escape(method.label), str(seed), f"{spec.budget:g}s")
    console.print(table)


def run_gate(baseline: Path, update: bool, methods: str | None, **settings: Any) -> int:
    """Compare a repetition with the baseline, 1 if it differs; or accept what came out as the new baseline."""
    quieten_libraries()
    from harness.gate import command

    if not update:
        return command.check(baseline, console)
    return command.update(baseline, command.plan(methods, **settings), console)


def run_report(folder: Path) -> None:
    """Rebuild comparison and plots from the records, and print the report."""
    from harness.reporting.report import build, print_report, write
    from harness.results import Store

    comparison = build(Store(folder))
    write(comparison, folder)
    print_report(comparison, console)


def run_inspect(folder: Path, query: str) -> None:
    """Print one query as every method saw and answered it."""
    from harness.inspecting import inspect_query, print_inspection
    from harness.results import Store

    print_inspection(inspect_query(Store(folder), query), console)


def run_validate() -> int:
    """Check every registered task that has synthetic data on it; 1 if one has a problem."""
    from harness.task_checks import check_task

    failed = 0
    for name in TASKS.names():
        task = TASKS.get(name)()
        try:
            data = task.load("synthetic", "dev")
        except FileNotFoundError as error:
            console.print(f"[yellow]not checked: {escape(str(error))}[/yellow]", soft_wrap=True)
            continue
        problems = check_task(task, data)
        failed += bool(problems)
        console.print(f"[red]{name}: {len(problems)} problems[/red]" if problems else f"[green]{name}: valid[/green]")
        for problem in problems:
            console.print(f"  {escape(problem)}", highlight=False)
    return int(failed > 0)


def run_check(folder: Path) -> int:
    """Print what a directory of LaMP files holds and every fault in it; 1 if there is any."""
    from harness.data_check import check_data

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


def run_train(recipe: Callable[..., dict[str, Any]], out: Path, minutes: float, seed: int) -> None:
    """Train an embedded model into a new folder and print what the training reports."""
    if out.exists() and any(out.iterdir()):
        raise HarnessError(f"{out} is not empty. Choose another --out.")
    with Progress(*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"), console=console) as bar:
        training = bar.add_task(f"Training for {minutes:g} minutes", total=1.0, loss=float("nan"))
        report = recipe(
            out, minutes, seed=seed, progress=lambda share, loss: bar.update(training, completed=share, loss=loss)
        )
    console.print_json(json.dumps(report))


def quieten_libraries() -> None:
    """Keep the libraries' progress bars and routine notices out of the live view."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("lm_eval", "lm-eval", "sentence_transformers", "datasets", "transformers", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
