"""The command line of fetching, which joins `harness data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.api import HarnessError, home
from harness.tasks.fetch.official import BASE_URL, RemoteFile, Separation, Split, official_files

if TYPE_CHECKING:
    from rich.progress import TaskID

    from harness.tasks.fetch.manifest import Entry

app = typer.Typer()


@app.command("fetch")
def fetch_command(
    tasks: Annotated[list[str], typer.Argument(help="lamp1 to lamp7, but for lamp6, whose files are licensed.")],
    out: Annotated[Path, typer.Option(parser=home, metavar="PATH", help="Data directory, for --data.")] = Path("lamp"),
    split: Annotated[str, typer.Option(help="dev, train, or both: dev,train. Test golds are not public.")] = "dev",
    separation: Annotated[
        Separation, typer.Option(help="user, or time: earlier and later of the same users.")
    ] = "user",
    base_url: Annotated[str, typer.Option(envvar="LAMP_BASE_URL", help="Address of a mirror.")] = BASE_URL,
    force: Annotated[bool, typer.Option("--force", help="Download again, and accept other content.")] = False,
) -> None:
    """Download official LaMP files; repeated, go on where it broke off, and verify what is there.

    Sizes and checksums are recorded in OUT/manifest.json. A file can have hundreds of megabytes.
    """
    splits = [_split(name) for name in split.split(",")]
    files = [file for task in tasks for name in splits for file in official_files(task, name, separation, base_url)]
    from harness.tasks.fetch.fetching import fetch

    with _Bars() as bars:
        fetch(out, files, bars, force)
    typer.echo(f"Use them with --data {out / 'time' if separation == 'time' else out}")


def _split(name: str) -> Split:
    if name == "train":
        return "train"
    if name == "dev":
        return "dev"
    if name == "test":
        raise HarnessError(
            "The golds of LaMP's test split are not public, so nothing could be scored. Use --split dev."
        )
    raise HarnessError(f"There is no split '{name}'. Known: train, dev.")


class _Bars:
    """A bar per file, and a line for each that is finished."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._ids: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def progress(self, file: RemoteFile, done: int, total: int | None) -> None:
        if file.path not in self._ids:
            self._ids[file.path] = self._bars.add_task(file.path, total=total)
        self._bars.update(self._ids[file.path], completed=done, total=total)

    def finished(self, file: RemoteFile, found: Entry, how: Literal["downloaded", "verified"]) -> None:
        self._bars.print(f"{file.path}: {how}, {found.size} bytes, sha256 {found.sha256}", soft_wrap=True)
