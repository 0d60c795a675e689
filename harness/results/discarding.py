"""What --fresh removes: results, and nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.api import HarnessError
from harness.results.disk import explain
from harness.results.locking import is_trace

PLOTS = ("", "-cost", "-users", "-history", "-anytime")  # what follows a task's name in those of its plots
_CELL = re.compile(r"seed-\d+-[0-9a-f]{8}(\.lock)?")
_TEMPORARY = re.compile(r"\.(.+)-\d+")  # what a killed run leaves of a file that it was writing
_TABLES = ("finished.json", *(f"comparison.{kind}" for kind in ("json", "csv", "md")), "users.csv")


def discard_results(folder: Path) -> list[Path]:
    """Remove what the run in a folder came to. Returns the files among its cells and plots that are none of it: kept.

    Raises HarnessError if something cannot be removed.
    """
    for path in list(_results(folder)):
        remove(path)
    rest = [path for name in ("plots", "cells") for path in (folder / name, *(folder / name).rglob("*"))]
    for path in sorted(rest, reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            remove(path)
    return [path for path in rest if path.is_file()]


def discard(*folders: Path) -> None:
    """Remove folders that hold runs, or cells that runs share, and those alone.

    Raises HarnessError before anything is removed if another file is there, and if something cannot be removed.
    """
    for folder in folders:
        ours = {path for run in folder.rglob("run.json") for path in _of_run(run.parent)}
        for path in (folder, *folder.rglob("*")):
            if path.is_file() and not _is_ours(path, folder, ours):
                raise HarnessError(
                    f"{path} is no result of the harness, and --fresh would delete it with the rest of {folder}. Move "
                    "it, or choose another --out."
                )
    for folder in folders:
        remove(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there. Raises HarnessError if it stays: it would pass for a new result."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise HarnessError(
            f"--fresh cannot discard all of {path}. {explain(error)} Delete it yourself, or choose another --out."
        ) from error


def _is_ours(path: Path, folder: Path, ours: set[Path]) -> bool:
    """Whether a file is among `ours`, lies in the folder of a cell below `folder`, or is a lock."""
    within = path.relative_to(folder)
    return is_trace(path) or any(map(_CELL.fullmatch, within.parts)) or not ours.isdisjoint((path, *path.parents))


def _of_run(folder: Path) -> Iterator[Path]:
    yield from (folder / "run.json", folder / "wandb")
    yield from _results(folder)


def _results(folder: Path) -> Iterator[Path]:
    """What the run in a folder came to, first what says that it is finished; of cells their folders.

    A plot that the next run does not draw would pass for its own.
    """
    yield from (folder / name for name in _TABLES)
    yield from (path for path in folder.glob(".*") if _written(path) in _TABLES)
    cells = folder / "cells"
    plots = {f"{task.name}{kind}.png" for task in cells.glob("*") for kind in PLOTS}
    yield from (path for path in (folder / "plots").glob("*") if _written(path) in plots)
    yield from (path for path in cells.glob("*/*/*") if _CELL.fullmatch(path.name))


def _written(path: Path) -> str:
    """The name under which a file was or would have been written."""
    temporary = _TEMPORARY.fullmatch(path.name)
    return temporary[1] if temporary else path.name
