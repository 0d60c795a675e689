"""`harness inspect`: one query as every method saw and answered it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import path_argument


def inspect(
    folder: Annotated[Path, path_argument("The --out of a comparison.")],
    query: Annotated[str, typer.Option(help="Id of a query; `samples.parquet` lists them.")],
) -> None:
    """Show prompt, output, prediction and gold of every method for one query, side by side."""
    from harness.commands.terminal import console, set_up
    from harness.reporting.query_view import inspect_query, print_inspection
    from harness.results.store import Store

    set_up()
    print_inspection(inspect_query(Store(folder), query), console)
