"""`harness reproduce`: the paper's experiments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import HarnessError
from harness.commands.options import ExecutorName, Wandb, path_option


def reproduce(
    name: Annotated[str, typer.Argument(help="table1, table2, table3, figure3, figure4, figure5 or all.")],
    preset_name: Annotated[
        str, typer.Option("--preset", help="tiny, small (SmolLM2-135M), paper-mistral or paper-flan-t5.")
    ] = "tiny",
    models: Annotated[
        str | None, typer.Option(help="Comma-separated, a column each: tiny-llama,tiny-t5 (default: the preset's).")
    ] = None,
    data: Annotated[str | None, path_option("A directory of LaMP files; all presets but tiny need it.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated (default: the experiment's).")] = None,
    users: Annotated[int | None, typer.Option(help="How many users to evaluate.")] = None,
    budget: Annotated[str | None, typer.Option(help="Of each fit: 150s, 5m. Not of figure4, whose axis it is.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Comma-separated: 0,1,2.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="METHOD.KEY=VALUE, repeatable; an experiment's own axis stays.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1.")] = None,
    out: Annotated[Path | None, path_option("Results folder (default: runs/reproduction-<preset>).")] = None,
    wandb: Wandb = "disabled",
    executor: ExecutorName = "local",
    docs: Annotated[
        Path | None,
        path_option("Write DIR/reproduction.md (or reproduction-<preset>.md) with its records and plots too."),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Compute nothing: tables and plots from what --out holds, finished or not."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print cells, time and disk, and stop.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what --out holds.")] = False,
) -> None:
    """Run the paper's experiments: each table or figure in its own layout, each claim judged.

    Experiments share cells, and finished ones are never computed again. Exit status 1 if a cell failed.

    Examples:

      harness reproduce all --dry-run

      harness reproduce table1 --models tiny-llama,tiny-t5

      harness reproduce table1 --preset small --data DIR --users 40 --budget 150s

      harness reproduce all --preset paper-mistral --data DIR --set aloe.training=lora
    """
    if rebuild and fresh:
        raise HarnessError("--rebuild works from what --fresh would discard: give one of the two.")
    from harness.commands.terminal import announce, console, warn_if_crowded
    from harness.quiet import quieten_libraries
    from harness.repeats.finished import Call
    from harness.specs.run_spec import parse_budget, parse_overrides, parse_seeds

    call = Call("reproduce", {})
    announce()
    quieten_libraries()
    from harness.executors.ray_pool import OF_ONE_WORKER, require_executor
    from harness.reproduction.reproducing import choose, print_plan, run_reproduce

    on = require_executor(executor)
    folder = out or Path("runs") / f"reproduction-{preset_name}"
    given = {
        "data": None if data is None else str(data),
        "tasks": tasks,
        "users": users,
        "budget": None if budget is None else parse_budget(budget),
        "seeds": None if seeds is None else parse_seeds(seeds),
        "device": device,
    }
    overrides = parse_overrides(settings or [])
    chosen = choose(name, preset_name, models.split(",") if models else [], overrides, **given)
    print_plan(chosen, preset_name, folder, console, fresh)
    if on == "ray":
        console.print(OF_ONE_WORKER, soft_wrap=True)
    if not dry_run:
        if not rebuild:
            warn_if_crowded()
        sys.exit(run_reproduce(chosen, preset_name, folder, console, wandb, fresh, not rebuild, docs, on, call))
