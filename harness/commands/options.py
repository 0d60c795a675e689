"""Options that commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.api import home

Wandb = Annotated[str, typer.Option(envvar="WANDB_MODE", help="disabled, offline (no account needed) or online.")]

ExecutorName = Annotated[
    str, typer.Option("--executor", help="local, or ray: a worker per GPU or node; RAY_ADDRESS names a cluster.")
]


def path_option(help: str) -> Any:
    """An option that takes a path, in which `~` is home."""
    return typer.Option(parser=home, metavar="PATH", help=help)


def path_argument(help: str) -> Any:
    """An argument that is a path, in which `~` is home."""
    return typer.Argument(parser=home, help=help)
