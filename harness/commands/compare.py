"""`harness compare`: fit methods under one budget, evaluate them, and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.api import HarnessError
from harness.commands.options import ExecutorName, Wandb, path_option

if TYPE_CHECKING:
    from rich.console import Console

    from harness.analysis.comparison import Comparison
    from harness.repeats.finished import Call
    from harness.reporting.wandb_session import Mode
    from harness.specs.run_spec import RunSpec

# Options that say where and how to work; all others say what is asked.
_HOW = ("out", "wandb", "executor", "save_fits", "dry_run", "fresh")


def compare(
    methods: Annotated[str, typer.Option(help="all, controls, or names with settings: a,b:key=value,c.")] = "all",
    budget: Annotated[str, typer.Option(help="Cap on the fit of each cell: 90s, 20m, 1h30m.")] = "20m",
    tasks: Annotated[
        str | None, typer.Option(help="all, or names: lamp2,lamp5 (default: the preset's, lamp2,lamp3,lamp7).")
    ] = None,
    preset_name: Annotated[
        str, typer.Option("--preset", help="Model and hyperparameters; see `harness presets`.")
    ] = "tiny",
    model: Annotated[
        str | None, typer.Option(help="Embedded model, folder or hub name, instead of the preset's.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="synthetic, or a directory of LaMP files (default synthetic).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split whose users are evaluated (default dev).")] = None,
    users: Annotated[int | None, typer.Option(help="How many users to evaluate (default: the preset's).")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries per task.")] = None,
    regime: Annotated[
        str | None, typer.Option(help="seen: fit on the evaluated users' histories; unseen: on others (default seen).")
    ] = None,
    eval_history: Annotated[
        str | None, typer.Option(help="own or none: what prompts show at evaluation (default own; none if unseen).")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Users per Chameleon direction; 1 is individual (default: one for all).")
    ] = None,
    history: Annotated[
        int | None, typer.Option(help="History items selected per user (default: the preset's).")
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(help="How history is selected: pca, random, recency; for each query: bm25, dense (default pca)."),
    ] = None,
    supervision: Annotated[
        int | None, typer.Option(help="Examples per user that every method may learn from (default: the preset's).")
    ] = None,
    keep_leaks: Annotated[
        bool, typer.Option("--keep-leaks", help="Keep history items that equal an evaluated query or its gold.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="Comma-separated: 0,1,2 (default: the preset's).")] = None,
    marks: Annotated[
        str | None, typer.Option(help="Evaluate checkpoints of each fit at these shares of the budget: 0.25,0.5,0.75.")
    ] = None,
    no_likelihood: Annotated[
        bool, typer.Option("--no-likelihood", help="Do not measure how likely the gold answers are.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="METHOD.KEY=VALUE, repeatable; see `harness methods METHOD`.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 (default auto).")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16 (default: the preset's).")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="nf4: load the model in 4 bits (needs bitsandbytes).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts generated at once (default: the preset's).")] = None,
    out: Annotated[Path | None, path_option("Results folder (default: dated, under runs/).")] = None,
    wandb: Wandb = "offline",
    executor: ExecutorName = "local",
    save_fits: Annotated[bool, typer.Option("--save-fits", help="Keep what each method fitted.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, and which of them --out has, and stop.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what --out holds.")] = False,
) -> None:
    """Fit methods under one budget, evaluate them on LaMP tasks, and compare.

    Finished cells are never computed again: repeat the command after Ctrl-C and it goes on. Exit status 1 if a method
    failed, 2 if the command cannot run as given.

    Examples:

      harness compare --methods all --budget 20m

      harness compare --methods instruct,chameleon,chameleon:edit=personalized --tasks lamp3 --budget 60s --seeds 0,1,2

      harness compare --preset paper-mistral --data DIR --budget 20m
    """
    asked = {name: value for name, value in locals().items() if name not in _HOW}
    from harness.commands.terminal import announce
    from harness.repeats.finished import Call

    call = Call("compare", asked)
    if out is not None and executor == "local" and not (fresh or dry_run) and _repeat(call, out, wandb, save_fits):
        return
    from harness.specs.run_spec import parse_budget, parse_overrides, parse_seeds

    announce()
    from harness.specs.resolve import resolve

    spec = resolve(
        methods,
        tasks,
        preset_name,
        parse_overrides(settings or []),
        budget=parse_budget(budget),
        model=model,
        data=data,
        split=split,
        users=users,
        limit=limit,
        regime=regime,
        eval_history=eval_history,
        group_size=group_size,
        history=history,
        selection=selection,
        supervision=supervision,
        keep_leaks=keep_leaks or None,
        seeds=None if seeds is None else parse_seeds(seeds),
        marks=_marks(marks),
        likelihood=False if no_likelihood else None,
        device=device,
        dtype=dtype,
        quantization=quantization,
        batch_size=batch_size,
    )
    sys.exit(_run(call, spec, out, wandb, executor, save_fits, fresh, dry_run))


def _repeat(call: Call, out: Path, wandb: str, save_fits: bool) -> bool:
    """Print what the folder holds if the same run has finished there and nothing it was made from has changed."""
    from harness.repeats.finished_run import finished_comparison
    from harness.results.store import Store

    comparison = finished_comparison(call, out)
    if comparison is None or (save_fits and Store(out).without_fit()):
        return False
    from harness.commands.terminal import console, repeating

    with repeating(call, out, wandb) as mode:
        _print_size(comparison.spec, console)
        console.print(
            f"Going on in {out}: all of it is finished, and nothing that it was made from has changed.", soft_wrap=True
        )
        _conclude(comparison, out, mode, console, call)
    return True


def _print_size(spec: RunSpec, console: Console) -> None:
    console.print(
        f"{len(spec.methods)} methods x {len(spec.tasks)} tasks x {len(spec.seeds)} seeds = {spec.size} cells, "
        f"model {spec.model}, data {spec.data}, at most {spec.budget:g}s of fitting each",
        soft_wrap=True,
    )


def _conclude(comparison: Comparison, folder: Path, mode: Mode, console: Console, call: Call) -> None:
    from harness.repeats.tracked_once import leave_tracked
    from harness.reporting.comparison_report import print_report
    from harness.reporting.tracking import track

    print_report(comparison, console)
    leave_tracked(call, folder, track(comparison, folder, mode))
    console.print(f"\nTables, plots and records: {folder}", soft_wrap=True)


def _run(
    call: Call,
    spec: RunSpec,
    out: Path | None,
    wandb: str,
    executor: str,
    save_fits: bool,
    fresh: bool,
    dry_run: bool,
) -> int:
    """Run under a live view and print what came out; 1 if a method failed, else 0."""
    from harness.commands.terminal import console, warn_if_crowded
    from harness.quiet import quieten_libraries

    _print_size(spec, console)
    quieten_libraries()
    from harness.executors.ray_pool import require_executor
    from harness.library import default_folder, run

    chosen = require_executor(executor)

    folder = out or default_folder(spec)
    if dry_run:
        _print_plan(spec, folder, save_fits, fresh, console)
        return 0
    from harness.repeats.finished_run import leave_comparison
    from harness.repeats.run_inputs import run_inputs
    from harness.reporting.wandb_session import require_mode
    from harness.results.disk import require_folder
    from harness.results.store import Store
    from harness.running.progress import Display

    mode = require_mode(wandb)
    folder = require_folder(folder)
    if (folder / "run.json").exists() and not fresh and Store(folder).read_run().spec == spec:
        console.print(f"Going on in {folder}: what is finished there is not computed again.", soft_wrap=True)
    warn_if_crowded()
    if chosen == "local":
        call.reads(run_inputs([spec]))
    with Display(console) as display:
        comparison = run(spec, folder, save_fits, fresh, display, executor=chosen)
    leave_comparison(call, comparison, folder)
    _conclude(comparison, folder, mode, console, call)
    return int(any(row.status == "failed" for row in comparison.rows))


def _print_plan(spec: RunSpec, folder: Path, save_fits: bool, fresh: bool, console: Console) -> None:
    """The cells; where the folder holds a run, which of them are finished and why others are computed again.

    The data is read: what is wrong with it is wrong with the run.
    """
    from rich.table import Table

    from harness.results.store import Store
    from harness.running.experiment import Experiment
    from harness.running.progress import Quiet

    known = (folder / "run.json").exists() and not fresh
    table = Table("task", "method", "seed", "budget", *(["to do", "because"] if known else []))
    for found in Experiment(spec, Store(folder), Quiet(), save_fits).outlook(fresh):
        cell = found.cell.spec
        to_do = "finished" if found.finished else "compute again" if found.why else "compute"
        state = (to_do, found.why) if known else ()
        table.add_row(cell.task, cell.label, str(cell.seed), f"{spec.budget:g}s", *state)
    console.print(table)


def _marks(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"Cannot read --marks '{text}'. Write shares of the budget: 0.25,0.5,0.75.") from None
