"""How commands list plug-ins."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated

import typer

from harness.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_listing(
    registries: dict[str, Registry], as_json: bool, summary: Callable[[Registry, str], str] = Registry.summary
) -> None:
    """A line per plug-in with its `summary`, by default its docstring's first line, or JSON with its target too."""
    rows = [
        {"name": name, "kind": kind, "summary": summary(registry, name), "target": registry.target(name)}
        for kind, registry in registries.items()
        for name in registry.names()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        typer.echo(f"{row['name']:<{width}}  {row['kind']:<8}  {row['summary'] or row['target']}")
