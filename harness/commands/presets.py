"""`harness presets`: models with the hyperparameters of every method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import typer

from harness.api import HarnessError
from harness.commands.listing import AsJson
from harness.registry import PRESETS, preset


def presets(as_json: AsJson = False) -> None:
    """List the presets; --json prints them whole."""
    loaded = dict(_readable())
    if as_json:
        typer.echo(json.dumps(loaded, indent=2))
        return
    for name, values in loaded.items():
        typer.echo(f"{name:<{max(map(len, loaded))}}  {values['description']}")


def _readable() -> Iterator[tuple[str, dict[str, Any]]]:
    """A broken preset costs only itself."""
    for name in PRESETS.names():
        try:
            yield name, preset(name)
        except HarnessError as error:
            typer.echo(f"Warning: {error}", err=True)
