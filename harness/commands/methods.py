"""`harness methods`: what can be compared, and what can be set of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from harness.commands.listing import AsJson, print_listing
from harness.registry import CONTROLS, METHODS, method_class


def methods(
    name: Annotated[str | None, typer.Argument(help="A method or control, to list its settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods, or the settings of one; controls are run by name or with --methods all,controls.

    Settings are given as NAME:KEY=VALUE in --methods, or as --set NAME.KEY=VALUE. The defaults shown count where the
    preset sets nothing else: see `harness presets --json`.
    """
    if name is None:
        print_listing({"method": METHODS, "control": CONTROLS}, as_json)
    else:
        _print_settings(name, as_json)


def _print_settings(name: str, as_json: bool) -> None:
    """A line per setting: its key, what it may be and its default, as `--set` takes them. Or the JSON schema of all."""
    from harness.specs.run_spec import format_value

    schema = method_class(name).Config.model_json_schema()
    if as_json:
        typer.echo(json.dumps(schema, indent=2))
        return
    if description := schema.get("description"):
        typer.echo(f"{description}\n")
    rows = [
        (key, _kind(found), format_value(found["default"]) if "default" in found else "(required)")
        for key, found in schema.get("properties", {}).items()
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for key, kind, default in rows:
        typer.echo(f"{key:<{widths[0]}}  {kind:<{widths[1]}}  {default}")


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be: `a | b | c`, or a type of JSON."""
    from harness.specs.run_spec import format_value

    if "anyOf" in schema:
        return " | ".join(map(_kind, schema["anyOf"]))
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return " | ".join(map(format_value, values)) or schema.get("type", "object")
