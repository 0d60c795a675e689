"""Plug-ins by name: lazy registries over entry points, so that listing names imports nothing."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from harness.api import HarnessError


class Registry:
    """The plug-ins of one entry-point group; `kind` is what messages call them."""

    def __init__(self, group: str, kind: str) -> None:
        self.group = group
        self.kind = kind

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in sorted(entry_points(group=self.group), key=lambda point: point.name)}

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self._points)

    def __contains__(self, name: str) -> bool:
        return name in self._points

    def target(self, name: str) -> str:
        """The "module:attribute" behind a name. Raises HarnessError with the nearest names for an unknown one."""
        if name not in self._points:
            raise HarnessError(unknown(self.kind, name, self._points))
        return self._points[name].value

    def summary(self, name: str) -> str:
        """First line of the plug-in's docstring, read without running its module; empty if there is none."""
        module, _, attribute = self.target(name).partition(":")
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None or not attribute:
            return ""
        tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
        named = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
        return ((ast.get_docstring(named[0]) or "").splitlines() or [""])[0] if named else ""

    def get(self, name: str) -> Any:
        """Import and return the plug-in. Raises HarnessError if it is unknown or cannot be imported."""
        self.target(name)
        try:
            return self._points[name].load()
        except (ImportError, AttributeError) as error:
            raise HarnessError(
                f"The {self.kind} '{name}' is registered as {self.target(name)}, which cannot be imported: {error}."
            ) from error


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for an unknown name: the nearest known ones, then all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}."


METHODS = Registry("harness.methods", "method")
CONTROLS = Registry("harness.controls", "control")
TASKS = Registry("harness.tasks", "task")
MODELS = Registry("harness.models", "model")
RECIPES = Registry("harness.recipes", "training recipe")
PRESETS = Registry("harness.presets", "preset")
EXPERIMENTS = Registry("harness.experiments", "experiment")
REPORTED = Registry("harness.reported", "set of reported numbers")
COMMANDS = Registry("harness.commands", "command")


def method_class(name: str) -> Any:
    """The class of a method or control. Raises HarnessError for an unknown name."""
    if name in CONTROLS:
        return CONTROLS.get(name)
    if name not in METHODS:
        raise HarnessError(unknown("method", name, [*METHODS.names(), *CONTROLS.names(), "all", "controls"]))
    return METHODS.get(name)


def model_folder(name: str) -> str:
    """Where a registered model lies, else the name itself. Raises HarnessError for a model yet to be fetched."""
    if name not in MODELS:
        return name
    model = MODELS.get(name)
    return str(model if isinstance(model, Path) else model.path())


def preset(name: str) -> dict[str, Any]:
    """A preset's YAML, found beside the module its entry point names."""
    path = files(PRESETS.target(name)) / f"{name}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
