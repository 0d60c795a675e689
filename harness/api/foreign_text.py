"""What users, files and models wrote, made fit for a path or a terminal."""

from __future__ import annotations

import os
from pathlib import Path


def home(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` as the home directory; a shell leaves it alone in --out=~/x, and YAML everywhere.

    The `~` of a user who is not known stays, where `Path.expanduser` raises RuntimeError.
    """
    return Path(os.path.expanduser(path))


def printable(text: str, keep: str = "") -> str:
    """The text with a space for every character, but those in `keep`, that could steer a terminal.

    Ids, names and answers are whatever users, files and models wrote.
    """
    return "".join(char if char.isprintable() or char in keep else " " for char in text)
