"""What the operating system notes of files, which tells a changed one without reading it."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Container, Iterable
from pathlib import Path


def snapshot(roots: Iterable[Path], ignored: Container[str] = ()) -> str:
    """sha256, 64 hex digits, over files and folders with all that is in them, links followed.

    Of a file count path, size, inode, and the times (ns) of its last change of content and of anything; the last cannot
    be set at will. What is not there, or cannot be read, counts as that. Names in `ignored` are passed over.
    """
    lines: list[tuple[object, ...]] = []
    folders: set[tuple[int, int]] = set()
    waiting = [Path(root).absolute() for root in roots]
    while waiting:
        path = waiting.pop()
        try:
            found = path.stat()
            inside = sorted(path.iterdir()) if stat.S_ISDIR(found.st_mode) else None
        except OSError as error:
            lines.append((str(path), type(error).__name__))
            continue
        if inside is None:
            lines.append((str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
            continue
        lines.append((str(path), "folder"))
        if (found.st_dev, found.st_ino) not in folders:  # a link may lead back to where it lies
            folders.add((found.st_dev, found.st_ino))
            waiting += [child for child in inside if child.name not in ignored]
    return digest(sorted(lines, key=str))


def digest(content: object) -> str:
    """sha256 over the JSON of plain values, 64 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
