"""`harness export`: what a method fitted, as adapters that other software serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.api import HarnessError
from harness.commands.options import path_argument, path_option


def export(
    folder: Annotated[Path, path_argument("The --out of a comparison run with --save-fits.")],
    method: Annotated[str, typer.Option(help="As tables name it: chameleon, or chameleon:edit=personalized.")],
    out: Annotated[Path, path_option("Folder for the adapters; it must not exist, or be empty.")],
    user: Annotated[list[str] | None, typer.Option(help="A user's id, repeatable.")] = None,
    all_users: Annotated[bool, typer.Option("--all", help="Every user that the run evaluated.")] = False,
    task: Annotated[str | None, typer.Option(help="Where the method has cells of several tasks.")] = None,
    seed: Annotated[int | None, typer.Option(help="Where it has several seeds.")] = None,
    form: Annotated[Literal["peft"], typer.Option("--format", help="peft: as its save_pretrained writes.")] = "peft",
) -> None:
    """Write what a method fitted as PEFT adapters, one folder each, and adapters.json, which says who uses which.

    An edit becomes a rank-2 LoRA of the MLP's last layer, with the same answers as the harness gave. Users who share a
    direction share an adapter.

    Example:

      harness export runs/first --method chameleon --all --out adapters
    """
    if bool(user) == all_users:
        raise HarnessError("Say whose adapters: --user ID, repeatable, or --all.")
    from harness.commands.terminal import announce
    from harness.quiet import quieten_libraries

    announce()
    quieten_libraries()
    from harness.export.exporting import choose_cell
    from harness.export.exporting import export as write
    from harness.formatting import counted
    from harness.results.store import Store

    store = Store(folder)
    folders = write(store, choose_cell(store, method, task, seed), user or None, out)
    adapters = counted(len(set(folders.values())), "adapter")
    typer.echo(f"{adapters} for {counted(len(folders), 'user')}: {out}")
