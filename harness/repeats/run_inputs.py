"""Where what a run reads lies: its data, its model, its embedder, and the files that its methods' settings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.api import home
from harness.registry import CONTROLS, METHODS, MODELS, PRESETS, TASKS, Registry, model_folders
from harness.results.fingerprints import config_paths
from harness.results.machine import accelerators
from harness.specs.resolve import build_method
from harness.specs.run_spec import RunSpec


@dataclass(frozen=True)
class RunInputs:
    """`paths`: files and folders; `hub`: models that are no folder but names on the hub."""

    paths: frozenset[Path]
    hub: frozenset[str]


def run_inputs(specs: Sequence[RunSpec]) -> RunInputs | None:
    """What runs read, together; None where nobody can tell.

    That is so with plug-ins of other packages, which may read anything, and where a device is chosen or used that could
    be another next time without being seen: see `harness.results.machine.accelerators`.
    """
    paths: set[Path] = set()
    hub: set[str] = set()
    for spec in specs:
        if not _is_ours(spec) or (spec.device != "cpu" and accelerators() is None):
            return None
        paths.add(Path(spec.data))
        used = (spec.model, spec.embedder)
        for name, place in zip(used, model_folders(*used), strict=True):
            folder = home(place)
            if folder.is_dir():
                paths.add(folder)
            else:
                hub.add(name)
        for method in spec.methods:
            paths |= {home(path) for _, path in config_paths(build_method(method, spec).config)}
    return RunInputs(frozenset(paths), frozenset(hub))


def _is_ours(spec: RunSpec) -> bool:
    named: list[tuple[Registry, str]] = [(PRESETS, spec.preset), *((TASKS, name) for name in spec.tasks)]
    named += [(CONTROLS if method.name in CONTROLS else METHODS, method.name) for method in spec.methods]
    named += [(MODELS, name) for name in (spec.model, spec.embedder) if name in MODELS]
    return all(registry.target(name).startswith("harness.") for registry, name in named)
