"""Plug-ins by name: lazy registries over entry points, so that listing names imports nothing."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from harness.api import HarnessError, Instrument, Task
from harness.plugin_faults import cause, command_fault, method_fault, model_fault, recipe_fault, task_fault
from harness.yaml_files import read_yaml

T = TypeVar("T")
_PRESET_KEYS = ("description", "model", "tasks")
_FOLDER = re.compile(r"\w([\w .-]*\w)?")  # what every file system takes as a name


class Registry:
    """The plug-ins of one entry-point group; `kind` is what messages call them.

    `fault` says of a loaded plug-in what keeps it from being one, "" if nothing does. A name is one thing within the
    group and the group `beside` it: of two plug-ins of one name the harness's own counts, with a warning. `folders`:
    names become those of folders, so that a plug-in whose name cannot is none.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        fault: Callable[[Any], str] = lambda plugin: "",
        beside: str | None = None,
        folders: bool = False,
    ) -> None:
        self.group = group
        self.kind = kind
        self._fault = fault
        self._beside = beside
        self._folders = folders

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        groups = [self.group, *([self._beside] if self._beside else [])]
        found = [point for group in groups for point in entry_points(group=group)]
        chosen: dict[str, EntryPoint] = {}
        for point in sorted(found, key=lambda point: (point.name, not _is_own(point), point.group, point.value)):
            first = chosen.setdefault(point.name, point)
            if (first.group, first.value) != (point.group, point.value):
                warnings.warn(_clash(first, point), stacklevel=2)
        return {name: point for name, point in chosen.items() if point.group == self.group}

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
        try:
            found = importlib.util.find_spec(module)
            if found is None or found.origin is None or not attribute:
                return ""
            tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
        except (Exception, SystemExit):  # finding a module runs the packages around it
            return ""
        named = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
        return ((ast.get_docstring(named[0]) or "").splitlines() or [""])[0] if named else ""

    def get(self, name: str) -> Any:
        """Import and return the plug-in. Raises HarnessError if it is unknown, cannot be imported or is none."""
        target = self.target(name)
        if self._folders and not _FOLDER.fullmatch(name):
            raise HarnessError(
                f"The {self.kind} '{name}' is registered as {_origin(self._points[name])}, under a name that can be no "
                "folder's, as its results need one. Names consist of letters, digits, '_', and '-', '.' or spaces "
                "between them: rename its entry point."
            )
        try:
            plugin = self._points[name].load()
        except (Exception, SystemExit) as error:
            raise HarnessError(
                f"The {self.kind} '{name}' is registered as {target}, which cannot be imported: {cause(error)}."
            ) from error
        if fault := self._fault(plugin):
            raise HarnessError(f"The {self.kind} '{name}' is registered as {target}, which {fault}.")
        return plugin

    def read_yaml(self, name: str) -> dict[str, Any]:
        """What `<name>.yaml` holds, beside the module that is registered. Raises HarnessError if it cannot be read."""
        target = self.target(name)
        try:
            return read_yaml(files(target) / f"{name}.yaml", self.kind)
        except HarnessError as error:
            raise HarnessError(f"{self.place(name)} cannot be read: {error}") from error
        except (Exception, SystemExit) as error:  # finding the file runs the packages around it
            raise HarnessError(f"{self.place(name)} cannot be read: {cause(error)}.") from error

    def place(self, name: str) -> str:
        """How a message names the file that `read_yaml` reads."""
        return f"The {self.kind} '{name}', {name}.yaml in {self.target(name)},"


def _is_own(point: EntryPoint) -> bool:
    return point.value.startswith("harness.")


def _clash(first: EntryPoint, second: EntryPoint) -> str:
    ours, theirs = map(_origin, (first, second))
    return f"'{first.name}' is registered twice: as {ours}, which is used, and as {theirs}, which is not."


def _origin(point: EntryPoint) -> str:
    return f"{point.value} in {point.group}" + (f" of the package {point.dist.name}" if point.dist else "")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line for an unknown name: the nearest known ones, then all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Unknown {kind} '{name}'.{hint} Known: {', '.join(names) or 'none'}."


METHODS = Registry("harness.methods", "method", method_fault, beside="harness.controls", folders=True)
CONTROLS = Registry("harness.controls", "control", method_fault, beside="harness.methods", folders=True)
TASKS = Registry("harness.tasks", "task", task_fault, folders=True)
MODELS = Registry("harness.models", "model", model_fault)
RECIPES = Registry("harness.recipes", "training recipe", recipe_fault)
PRESETS = Registry("harness.presets", "preset")
EXPERIMENTS = Registry("harness.experiments", "experiment")
REPORTED = Registry("harness.reported", "set of reported numbers")
COMMANDS = Registry("harness.commands", "command", command_fault)


def method_class(name: str) -> Any:
    """The class of a method or control. Raises HarnessError for an unknown name."""
    if name in CONTROLS:
        return CONTROLS.get(name)
    if name not in METHODS:
        raise HarnessError(unknown("method", name, [*METHODS.names(), *CONTROLS.names(), "all", "controls"]))
    return METHODS.get(name)


def is_control(label: str) -> bool:
    """Whether a method's label, "name" or "name:setting=value", is that of a control."""
    return method_of(label) in CONTROLS


def method_of(label: str) -> str:
    """The method's name: that of `chameleon:edit=personalized` is `chameleon`."""
    return label.partition(":")[0]


def control_of(label: str) -> str:
    """The method whose place a control takes; "" for other controls and for methods."""
    return str(method_class(method_of(label)).control_of) if is_control(label) else ""


def controls_by_method() -> dict[str, list[str]]:
    """Each method's own controls, of methods that have any; a broken plug-in costs only itself, with a warning."""
    found: dict[str, list[str]] = {}
    for name, method in _usable(CONTROLS.names(), lambda name: (name, control_of(name))):
        found.setdefault(method, []).append(name)
    return {method: names for method, names in found.items() if method}


def model_folder(name: str) -> str:
    """Where a registered model lies, else the name itself. Raises HarnessError for a model yet to be fetched."""
    if name not in MODELS:
        return name
    model = MODELS.get(name)
    return str(model if isinstance(model, str | PathLike) else model.path())


def model_folders(*names: str) -> list[str]:
    """`model_folder` of each; the error names one command for all that are yet to be fetched."""
    missing = [
        name for name in dict.fromkeys(names) if name in MODELS and not getattr(MODELS.get(name), "fetched", True)
    ]
    if len(missing) > 1:
        fetch = f"harness models fetch {' '.join(missing)}"
        raise HarnessError(f"The models {', '.join(missing)} are not on this machine yet. Run: {fetch}")
    return [model_folder(name) for name in names]


def hub_name(name: str) -> str:
    """The name under which anybody finds a registered model on the Hugging Face hub; "" where it states none."""
    return str(getattr(MODELS.get(name), "hub_name", "")) if name in MODELS else ""


def model_remark(name: str) -> str:
    """What a reader of a registered model's results must know; "" where it states nothing."""
    return str(getattr(MODELS.get(name), "remark", "")) if name in MODELS else ""


def is_instrument(name: str) -> bool:
    """Whether a registered model is a test instrument, which is no evidence about real models."""
    return name in MODELS and isinstance(MODELS.get(name), Instrument)


def make_task(name: str) -> Task:
    """A task, ready to use. Raises HarnessError for an unknown name or a broken plug-in."""
    cls = TASKS.get(name)
    try:
        made: Task = cls()
    except (Exception, SystemExit) as error:
        raise HarnessError(f"The task '{name}', {TASKS.target(name)}, cannot be made: {cause(error)}.") from error
    missing = [part for part in ("title", "version", "prompts", "metrics", "max_new_tokens") if not hasattr(made, part)]
    if missing:
        raise HarnessError(f"The task '{name}', {TASKS.target(name)}, has no {', '.join(missing)}.")
    if getattr(made, "name", None) != name:
        raise HarnessError(
            f"The task '{name}', {TASKS.target(name)}, calls itself {getattr(made, 'name', None)!r}: "
            "it must be registered under its own name."
        )
    return made


def usable_tasks() -> list[Task]:
    """Every registered task; a broken plug-in costs only itself, with a warning."""
    return list(_usable(TASKS.names(), make_task))


def _usable(names: Iterable[str], make: Callable[[str], T]) -> Iterator[T]:
    """What `make` gives for each name, those left out with a warning that are broken."""
    for name in names:
        try:
            yield make(name)
        except HarnessError as error:
            warnings.warn(f"Left out: {error}", stacklevel=3)


def preset(name: str) -> dict[str, Any]:
    """A preset's YAML, found beside the module its entry point names. Raises HarnessError if it is none."""
    loaded, where = PRESETS.read_yaml(name), PRESETS.place(name)
    if missing := [key for key in _PRESET_KEYS if not isinstance(loaded.get(key), str)]:
        raise HarnessError(f"{where} must give a text for each of: {', '.join(missing)}.")
    methods = loaded.get("methods", {})
    if not isinstance(methods, dict) or not all(isinstance(settings, dict) for settings in methods.values()):
        raise HarnessError(f"{where} must map each name under `methods` to its settings, {{}} for none.")
    return loaded
