"""`harness presets`: models with the hyperparameters of every method."""

from __future__ import annotations

import json

import typer

from harness.commands.listing import AsJson
from harness.registry import PRESETS, preset


def presets(as_json: AsJson = False) -> None:
    """List the presets; --json prints them whole."""
    loaded = {name: preset(name) for name in PRESETS.names()}
    if as_json:
        typer.echo(json.dumps(loaded, indent=2))
        return
    for name, values in loaded.items():
        typer.echo(f"{name:<{max(map(len, loaded))}}  {values['description']}")
