"""What --fresh removes: results, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.api import HarnessError
from harness.results.disk import explain
from harness.results.locking import is_trace

_CELL = re.compile(r"seed-\d+-[0-9a-f]{8}(\.lock)?")


def discard(*folders: Path) -> None:
    """Remove folders that hold runs, or cells that runs share, and those alone.

    Raises HarnessError before anything is removed if another file is there, and if something cannot be removed.
    """
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            if path.is_file() and not _is_ours(path, folder):
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


def _is_ours(path: Path, folder: Path) -> bool:
    """Whether a file lies in the folder of a run or of a cell below `folder`, or is a lock."""
    within = path.relative_to(folder)
    return (
        is_trace(path)
        or any(map(_CELL.fullmatch, within.parts))
        or any((folder / above / "run.json").exists() for above in list(within.parents)[:-1])
    )
