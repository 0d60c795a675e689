"""What a command runs in: its source, the installed packages, the environment, the machine. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import harness
from harness.registry import CONTROLS, EXPERIMENTS, METHODS, MODELS, PRESETS, RECIPES, REPORTED, TASKS
from harness.repeats.file_states import digest, snapshot
from harness.results.machine import accelerators, machine
from harness.results.source_closure import find

_REGISTRIES = (METHODS, CONTROLS, TASKS, MODELS, RECIPES, PRESETS, EXPERIMENTS, REPORTED)
_READ = 1 << 20  # bytes; larger files of ours, such as weights, count by their state
_CACHES = ("__pycache__",)
_METADATA = ("METADATA", "RECORD", "PKG-INFO", "entry_points.txt", "direct_url.json")
_IMPORTED = (*importlib.machinery.all_suffixes(), ".pth", ".egg-link")
# What terminals, shells and W&B set; a result depends on none of it. Everything else counts.
_IGNORED = (
    *("_", "PWD", "OLDPWD", "SHLVL", "PS1", "COLUMNS", "LINES", "WINDOWID", "STY", "DISPLAY", "WAYLAND_DISPLAY"),
    *("COLORTERM", "LS_COLORS", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "GPG_TTY", "PYTEST_CURRENT_TEST"),
)
_IGNORED_PREFIXES = ("TERM", "SSH_", "TMUX", "WANDB_", "XDG_SESSION_")


def surroundings(path: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Digests by name of all that decides, beside data, models and options, what a command comes to.

    `path` and `environment` are sys.path and os.environ as the command found them.

    Of the environment there is one digest, so that no secret in it can be read or guessed.
    """
    return {
        "source": digest(sorted(_own_files())),
        "plug-ins": snapshot(_foreign_plugins(), _CACHES),
        "packages": digest([sys.version, sys.executable, list(sys.flags), *(_importable(entry) for entry in path)]),
        "environment": digest(sorted(_counting(environment))),
        "folder": digest(os.getcwd()),
        "machine": digest([platform.node(), platform.platform(), machine(), accelerators()]),
    }


def _own_files() -> Iterator[tuple[str, str]]:
    """Of each file of the harness and of its plug-ins, which lie beside it in a checkout, its path and its content."""
    installed, *beside = map(Path, harness.__path__)
    packages = {module.split(".")[1] for module in _plugin_modules() if module.startswith("harness.")}
    for root in (installed, *(folder / name for folder in beside for name in sorted(packages))):
        for folder, names, files in os.walk(root):
            names[:] = [name for name in names if name not in _CACHES]
            for path in (Path(folder, file) for file in files):
                yield str(path), _content(path)


def _content(path: Path) -> str:
    try:
        if path.stat().st_size <= _READ:
            return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # an editor's link that leads nowhere
        pass
    return snapshot([path])


def _foreign_plugins() -> list[Path]:
    """The packages of all plug-ins that are not ours: `--methods all` leaves out one that is broken."""
    names = {module.partition(".")[0] for module in _plugin_modules()} - {"harness"}
    specs = [spec for name in sorted(names) if (spec := find(name)) is not None]
    return [Path(place) for spec in specs for place in spec.submodule_search_locations or [spec.origin or ""] if place]


def _plugin_modules() -> set[str]:
    points = entry_points()
    return {point.module for registry in _REGISTRIES for point in points.select(group=registry.group)}


def _importable(entry: str) -> list[str]:
    """What could be imported from an entry of sys.path, with the state of its files and of installed metadata."""
    root = Path(entry or os.getcwd())
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return [str(root)]
    files = [root / name for name in names if name.endswith(_IMPORTED)]
    metadata = [root / name for name in names if name.endswith((".dist-info", ".egg-info"))]
    packages = [name for name in names if "." not in name and (root / name / "__init__.py").is_file()]
    return [str(root), *packages, snapshot([*files, *(path / name for path in metadata for name in _METADATA)])]


def _counting(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        if name not in _IGNORED and not name.startswith(_IGNORED_PREFIXES):
            yield name, value
