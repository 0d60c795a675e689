"""The command line. Nothing heavy is imported before a command needs it: `harness --help` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import HarnessError
from harness.registry import COMMANDS, CONTROLS, METHODS, MODELS, PRESETS, RECIPES, TASKS, Registry, preset
from harness.sweeps.cli import run, sweep

app = typer.Typer(
    name="harness",
    help="Compare LLM personalization methods under one wall-clock budget.\n\n"
    "Start with: harness compare --methods all --budget 20m",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
tasks_app = typer.Typer(help="List the tasks, or validate them.", invoke_without_command=True, rich_markup_mode=None)
models_app = typer.Typer(
    help="List the models, or train an embedded one.", invoke_without_command=True, rich_markup_mode=None
)
data_app = typer.Typer(help="Get data, or look at it before a run.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tasks_app, name="tasks")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
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
    data: Annotated[str | None, typer.Option(help="synthetic, or a directory of LaMP files.")] = None,
    split: Annotated[str | None, typer.Option(help="Split whose users are evaluated (default dev).")] = None,
    users: Annotated[int | None, typer.Option(help="How many users to evaluate (default 200).")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries per task.")] = None,
    regime: Annotated[
        str | None, typer.Option(help="seen: fit on the evaluated users' histories; unseen: on others.")
    ] = None,
    eval_history: Annotated[
        str | None, typer.Option(help="own or none: what prompts show at evaluation (default own; none if unseen).")
    ] = None,
    group_size: Annotated[int | None, typer.Option(help="Users per Chameleon direction; 1 is individual.")] = None,
    history: Annotated[int | None, typer.Option(help="History items selected per user.")] = None,
    selection: Annotated[str | None, typer.Option(help="How history is selected: pca, random or recency.")] = None,
    supervision: Annotated[int | None, typer.Option(help="Examples per user that every method may learn from.")] = None,
    keep_leaks: Annotated[
        bool, typer.Option("--keep-leaks", help="Keep history items that equal an evaluated query or its gold.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="Comma-separated: 0,1,2.")] = None,
    marks: Annotated[
        str | None, typer.Option(help="Evaluate checkpoints of each fit at these shares of the budget: 0.25,0.5,0.75.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="METHOD.KEY=VALUE, repeatable.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16.")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="nf4: load the model in 4 bits (needs bitsandbytes).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts generated at once.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: dated, under runs/).")] = None,
    wandb: Annotated[str, typer.Option(help="disabled, offline (no account needed) or online.")] = "offline",
    save_fits: Annotated[bool, typer.Option("--save-fits", help="Keep what each method fitted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells and stop.")] = False,
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
    from harness.commands import announce, run_compare
    from harness.spec import parse_budget, parse_overrides

    announce()
    from harness.resolve import resolve

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
        keep_leaks=keep_leaks,
        seeds=_seeds(seeds),
        marks=_marks(marks),
        device=device,
        dtype=dtype,
        quantization=quantization,
        batch_size=batch_size,
    )
    sys.exit(run_compare(spec, out, wandb, save_fits, fresh, dry_run))


app.command()(sweep)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="The --out of a comparison.")]) -> None:
    """Rebuild tables and plots from the records of a run."""
    from harness.commands import run_report

    run_report(folder)


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="The --out of a comparison.")],
    query: Annotated[str, typer.Option(help="Id of a query; `samples.parquet` lists them.")],
) -> None:
    """Show prompt, output, prediction and gold of every method for one query, side by side."""
    from harness.commands import run_inspect

    run_inspect(folder, query)


@app.command("check")
def check_baseline(
    baseline: Annotated[Path, typer.Option(help="The baseline file, e.g. leaderboards/ci.json.")],
    update: Annotated[bool, typer.Option("--update", help="Accept what comes out as the new baseline.")] = False,
    methods: Annotated[
        str | None, typer.Option(help="With --update: begin a baseline of these methods (as in `harness compare`).")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="With --methods: names of tasks (default: the preset's).")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="With --methods: model and hyperparameters.")] = "tiny",
    model: Annotated[str | None, typer.Option(help="With --methods: instead of the preset's model.")] = None,
    data: Annotated[str | None, typer.Option(help="With --methods: synthetic, or a directory of LaMP files.")] = None,
    users: Annotated[int, typer.Option(help="With --methods: how many users to evaluate.")] = 16,
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
    from harness.commands import announce, run_gate

    announce()
    settings = {"tasks": tasks, "preset": preset_name, "model": model, "data": data, "users": users}
    sys.exit(run_gate(baseline, update, methods, **settings))


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="table1, table2, table3, figure3, figure4, figure5 or all.")],
    preset_name: Annotated[str, typer.Option("--preset", help="tiny, paper-mistral or paper-flan-t5.")] = "tiny",
    models: Annotated[
        str | None, typer.Option(help="Comma-separated, a column each: tiny-llama,tiny-t5 (default: the preset's).")
    ] = None,
    data: Annotated[str | None, typer.Option(help="A directory of LaMP files; the paper's presets need it.")] = None,
    users: Annotated[int | None, typer.Option(help="How many users to evaluate.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Comma-separated: 0,1,2.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: runs/reproduction-<preset>).")] = None,
    wandb: Annotated[str, typer.Option(help="disabled, offline (no account needed) or online.")] = "disabled",
    docs: Annotated[Path | None, typer.Option(help="Write DIR/reproduction.md with its records and plots too.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Compute nothing: tables and plots from --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print cells, time and disk, and stop.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what --out holds.")] = False,
) -> None:
    """Run the paper's experiments: each table or figure in its own layout, each claim judged.

    Experiments share cells, and finished ones are never computed again. Exit status 1 if a cell failed.

    Examples:

      harness reproduce all --dry-run

      harness reproduce table1 --models tiny-llama,tiny-t5

      harness reproduce all --preset paper-mistral --data DIR
    """
    if rebuild and fresh:
        raise HarnessError("--rebuild works from what --fresh would discard: give one of the two.")
    from harness.commands import announce, console, quieten_libraries

    announce()
    quieten_libraries()
    from harness.reproduction.command import choose, print_plan, run_reproduce

    folder = out or Path("runs") / f"reproduction-{preset_name}"
    given = {"data": data, "users": users, "seeds": _seeds(seeds), "device": device}
    chosen = choose(name, preset_name, models.split(",") if models else [], **given)
    print_plan(chosen, preset_name, folder, console)
    if not dry_run:
        sys.exit(run_reproduce(chosen, preset_name, folder, console, wandb, fresh, not rebuild, docs))


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods; controls are run by name or with --methods all,controls."""
    _list({"method": METHODS, "control": CONTROLS}, as_json)


@app.command()
def presets(as_json: AsJson = False) -> None:
    """List the presets; --json prints them whole."""
    loaded = {name: preset(name) for name in PRESETS.names()}
    if as_json:
        typer.echo(json.dumps(loaded, indent=2))
        return
    for name, values in loaded.items():
        typer.echo(f"{name:<{max(map(len, loaded))}}  {values['description']}")


@tasks_app.callback()
def tasks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tasks."""
    if context.invoked_subcommand is None:
        _list({"task": TASKS}, as_json)


@tasks_app.command("validate")
def validate() -> None:
    """Check every task: the gold answer scores perfectly, the prompts contain what the paper's do."""
    from harness.commands import run_validate

    sys.exit(run_validate())


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the embedded models; any folder or hub name works too."""
    if context.invoked_subcommand is None:
        _list({"model": MODELS}, as_json)


@models_app.command("train")
def train(
    name: Annotated[str, typer.Argument(help="An embedded model, e.g. tiny-llama.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained model.")],
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 45.0,
    seed: Annotated[int, typer.Option(help="Seed of data and initialization.")] = 0,
) -> None:
    """Train an embedded model from scratch, as its model card says."""
    from harness.commands import run_train

    run_train(RECIPES.get(name), out, minutes, seed)


@data_app.command("check")
def check(folder: Annotated[Path, typer.Argument(help="A directory of LaMP files.")]) -> None:
    """Name file, record and field of every fault in a directory of LaMP files. Exit status 1 if there is any."""
    from harness.commands import run_check

    sys.exit(run_check(folder))


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"Cannot read --seeds '{text}'. Write whole numbers separated by commas: 0,1,2.") from None


def _marks(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"Cannot read --marks '{text}'. Write shares of the budget: 0.25,0.5,0.75.") from None


def _list(registries: dict[str, Registry], as_json: bool) -> None:
    rows = [
        {"name": name, "kind": kind, "summary": registry.summary(name), "target": registry.target(name)}
        for kind, registry in registries.items()
        for name in registry.names()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        typer.echo(f"{row['name']:<{width}}  {row['kind']:<8}  {row['summary'] or row['target']}")


def _add_commands() -> None:
    """Let plug-ins add commands; one that cannot be imported costs its own commands only."""
    groups = {info.name: info.typer_instance for info in app.registered_groups}
    for name in COMMANDS.names():
        try:
            commands = COMMANDS.get(name)
        except HarnessError as error:
            typer.echo(f"Warning: {error}", err=True)
            continue
        if group := groups.get(name):
            group.add_typer(commands)  # its commands join the group's own
        else:
            app.add_typer(commands, name=name)


def main() -> None:
    """Run the command line; a fault of the user's is one paragraph and exit status 2."""
    try:
        _add_commands()
        app()
    except HarnessError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("Interrupted. Repeat the same command to go on where it stopped.", err=True)
        sys.exit(130)
