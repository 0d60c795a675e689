"""From what a user typed to a specification: defaults, then the preset, then the command line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from harness.analysis.comparison import BASELINE
from harness.api import HarnessError, Method
from harness.registry import CONTROLS, METHODS, PRESETS, TASKS, method_class, preset, unknown
from harness.specs.explaining import explain
from harness.specs.run_spec import MethodSpec, RunSpec, parse_methods


def resolve(
    methods: str = "all",
    tasks: str | None = None,
    preset_name: str = "tiny",
    overrides: dict[str, dict[str, Any]] | None = None,
    **given: Any,
) -> RunSpec:
    """The full specification. `given` holds fields of RunSpec; None means "as the preset has it".

    Raises HarnessError for unknown names, keys or values, with the nearest known ones.
    """
    if preset_name not in PRESETS:
        raise HarnessError(unknown("preset", preset_name, PRESETS.names()))
    run_level = {
        key: value for key, value in preset(preset_name).items() if key not in ("description", "methods", "tasks")
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    fields = {**run_level, **chosen, "preset": preset_name, "overrides": overrides or {}}
    if fields.get("regime") == "unseen":
        fields.setdefault("eval_history", "none")
    try:
        spec = RunSpec(
            methods=expand_methods(methods), tasks=expand_tasks(tasks or preset(preset_name)["tasks"]), **fields
        )
    except ValidationError as error:
        raise HarnessError(f"Cannot build the specification. {explain(error, RunSpec)}") from error
    for method in spec.methods:
        build_method(method, spec)
    for name in spec.overrides:
        if name not in {method.name for method in spec.methods}:
            raise HarnessError(f"--set names '{name}', which is not among the methods of this run.")
    return spec


def expand_methods(text: str) -> tuple[MethodSpec, ...]:
    """`all` and `controls` become the registered names, the reference first."""
    groups = {"all": METHODS.names(), "controls": CONTROLS.names()}
    expanded: list[MethodSpec] = []
    for spec in parse_methods(text):
        names = groups.get(spec.name, [spec.name])
        if spec.name in groups and spec.settings:
            raise HarnessError(f"'{spec.name}' takes no settings; name the methods, or use --set METHOD.KEY=VALUE.")
        expanded += [MethodSpec(name=name, settings=spec.settings) for name in names]
    return tuple(sorted(expanded, key=lambda spec: spec.name != BASELINE or bool(spec.variant)))


def expand_tasks(text: str) -> tuple[str, ...]:
    """Task names from a comma-separated list; `all` is every registered one."""
    names = tuple(TASKS.names()) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in names:
        TASKS.target(name)
    return names


def build_method(method: MethodSpec, spec: RunSpec) -> Method:
    """The method with its configuration: preset, then `--group-size`, then `--set`, then the variant's settings."""
    cls: type[Method] = method_class(method.name)
    settings = dict(preset(spec.preset).get("methods", {}).get(method.name, {}))
    if spec.group_size is not None and "group_size" in cls.Config.model_fields:
        settings["group_size"] = spec.group_size
    settings |= spec.overrides.get(method.name, {}) | method.settings
    try:
        return cls(cls.Config(**settings))
    except ValidationError as error:
        raise HarnessError(f"Cannot build the method '{method.name}'. {explain(error, cls.Config)}") from error
