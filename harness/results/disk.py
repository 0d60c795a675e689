"""Folders that a user names, and what is said when the disk does not do its part."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from harness.api import HarnessError, home
from harness.formatting import listed, memory

FULL = (
    "the disk is full, or its quota is used up. Finished cells are kept: make room and repeat the command, which goes "
    "on where it stopped."
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FILE = (errno.EEXIST, errno.ENOTDIR)


def require_folder(path: str | os.PathLike[str]) -> Path:
    """`home(path)`, if it is a folder that can be written into, or could be made. Leaves nothing behind.

    Raises HarnessError for a file, a broken link, and a place that is full or may not be written.
    """
    folder = home(path)
    try:
        exists = _exists(folder)
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(p))
        if not place.is_dir():
            what = "is a file" if place.exists() else "is a link that leads nowhere"
            raise HarnessError(f"{folder if exists else place} {what}; name a folder.")
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(bytes(1 << 16))
    except OSError as error:
        why = FULL if is_full(error) else f"{error.strerror}. Name another folder."
        raise HarnessError(f"Nothing can be written into {folder}: {why}") from error
    return folder


def explain(error: OSError) -> str:
    """One paragraph: which file, what is wrong with it, and what to do."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    if is_full(error):
        return place + FULL
    if error.errno in _REFUSED:
        return f"{place}{error.strerror}. Name another place, or change who may use this one."
    if error.errno in _FILE:
        return f"{place}there is a file where a folder is needed. Name another folder."
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return f"{place}{reason.rstrip('.')}."


def explain_full(*folders: Path) -> str:
    """`FULL`, and how much room there is in each of the folders that were written into."""
    room = [f"{memory(shutil.disk_usage(folder).free)} in {folder}" for folder in folders]
    return f"{FULL} There is room for {listed(room)}; TMPDIR says where temporary files go."


def is_litter(path: Path) -> bool:
    """Whether a file manager leaves such a file wherever somebody looks, as that of macOS does."""
    return path.name == ".DS_Store" or path.name.startswith("._")


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind what was raised; some libraries say so in their text only."""
    texts = [text for code in _FULL for text in (f"(os error {code})", f"[Errno {code}]")]
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _FULL) or any(text in str(error) for text in texts):
            return True
        error = error.__cause__ or error.__context__
    return False


def _exists(folder: Path) -> bool:
    """Like `os.path.lexists`, but a name that no file can have is an error."""
    try:
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
