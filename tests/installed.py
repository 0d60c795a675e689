"""A package with plug-ins, as far as entry points can tell: it lies in a folder on the path, and is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_package(folder: Path, entry_points: Mapping[str, Mapping[str, str]], files: Mapping[str, str]) -> Path:
    """Write modules and other files, and the metadata that registers `entry_points` {group: {name: value}}."""
    metadata = folder / f"{folder.name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {folder.name}\nVersion: 1.0\n")
    sections = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in entry_points.items()
    )
    (metadata / "entry_points.txt").write_text("\n".join(sections))
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
