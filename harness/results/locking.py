"""One run at a time: a lock that the operating system lets go of when its process ends, however it ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from harness.api import HarnessError
from harness.results.disk import is_litter

LOCK = "run.lock"
ERROR = "error.txt"  # the traceback of what ended a run, or failed a cell, in its folder
_HOLDER = "run.lock.txt"  # beside the lock itself, which Windows lets nobody else read


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a results folder for the duration. Raises HarnessError if another run has it, saying which."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise HarnessError(
            f"{folder} is in use by another run ({_holder(folder)}). Both would compute the same cells: wait until "
            "it has ended and repeat the command, or choose another --out."
        ) from None
    except OSError as error:
        raise HarnessError(f"{folder} cannot hold results: {error.strerror or error}. Choose another --out.") from error
    try:
        _introduce(folder / _HOLDER)
        yield
    finally:
        with suppress(OSError):
            (folder / _HOLDER).unlink(missing_ok=True)
            _leave_no_trace(folder)
        lock.release()


def _leave_no_trace(folder: Path) -> None:
    """Remove a folder that holds a lock only: the run ended before it wrote anything."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        (folder / LOCK).unlink()
        folder.rmdir()


def is_trace(path: Path) -> bool:
    """Whether a file tells of runs only, as a lock, a killed one's temporary file and an error do, or of nothing."""
    return path.name in (LOCK, _HOLDER, ERROR) or path.name.startswith(".run.json-") or is_litter(path)


def _introduce(holder: Path) -> None:
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    with suppress(OSError):  # on a full disk the lock still holds
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {now}", encoding="utf-8")


def _holder(folder: Path) -> str:
    try:
        return (folder / _HOLDER).read_text(encoding="utf-8") or "just begun"
    except OSError:
        return "just begun"
