"""`harness models`: list the models, fetch a real one, or train an embedded one."""

from __future__ import annotations

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.api import HarnessError
from harness.commands.listing import AsJson, print_listing
from harness.commands.options import path_option
from harness.registry import MODELS, RECIPES, Registry, model_folder
from harness.results.disk import require_folder

app = typer.Typer(
    help="List the models, fetch a real one, or train an embedded one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that go by a name; any folder or hub name works too."""
    if context.invoked_subcommand is None:
        print_listing({"model": MODELS}, as_json, _summary)


def _summary(models: Registry, name: str) -> str:
    """What a model is, and what is missing before it can be used."""
    try:
        model = models.get(name)
    except HarnessError as error:
        return str(error)
    if isinstance(model, str | PathLike):
        return f"in {model}"
    missing = "" if getattr(model, "fetched", True) else f"; not here yet: harness models fetch {name}"
    return getattr(model, "title", models.target(name)) + missing


@app.command("fetch")
def fetch(names: Annotated[list[str], typer.Argument(help="Real models by name: smollm2-135m, minilm-l6-v2.")]) -> None:
    """Download real models once, into the user's cache folder (HARNESS_CACHE overrides); they work offline afterwards.

    Needs the extra `real`: pip install 'personalization-harness[real]'. Repeat the command to go on after an
    interruption.
    """
    for name in names:
        model = MODELS.get(name)
        folder = model.fetch(typer.echo) if hasattr(model, "fetch") else model_folder(name)
        typer.echo(f"{name}: {folder}")


@app.command("train")
def train(
    name: Annotated[str, typer.Argument(help="An embedded model, e.g. tiny-llama.")],
    out: Annotated[Path, path_option("Folder for the trained model.")],
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 45.0,
    seed: Annotated[int, typer.Option(help="Seed of data and initialization.")] = 0,
) -> None:
    """Train an embedded model from scratch, as its model card says."""
    _run_train(RECIPES.get(name), out, minutes, seed)


def _run_train(recipe: Callable[..., dict[str, Any]], out: Path, minutes: float, seed: int) -> None:
    """Train into a new folder and print what the training reports."""
    from rich.progress import Progress, TextColumn

    from harness.commands.terminal import console

    if require_folder(out).exists() and any(out.iterdir()):
        raise HarnessError(f"{out} is not empty. Choose another --out.")
    with Progress(*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"), console=console) as bar:
        training = bar.add_task(f"Training for {minutes:g} minutes", total=1.0, loss=float("nan"))
        report = recipe(
            out, minutes, seed=seed, progress=lambda share, loss: bar.update(training, completed=share, loss=loss)
        )
    console.print_json(json.dumps(report))
