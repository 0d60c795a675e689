"""From what a user typed to a specification: defaults, then the preset, then the command line."""

from __future__ import annotations

import warnings
from typing import Any

from pydantic import ValidationError

from harness.api import HarnessError, Method
from harness.plugin_faults import cause
from harness.registry import CONTROLS, METHODS, control_of, make_task, method_class, preset, usable_tasks
from harness.specs.explaining import explain
from harness.specs.run_spec import BASELINE, MethodSpec, RunSpec, parse_methods


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
    found = preset(preset_name)
    run_level = {key: value for key, value in found.items() if key not in ("description", "methods", "tasks")}
    chosen = {key: value for key, value in given.items() if value is not None}
    fields = {**run_level, **chosen, "preset": preset_name, "overrides": overrides or {}}
    if fields.get("regime") == "unseen":
        fields.setdefault("eval_history", "none")
    try:
        spec = RunSpec.model_validate(
            {
                **fields,
                "methods": expand_methods(methods),
                "tasks": expand_tasks(found["tasks"] if tasks is None else tasks),
            }
        )
    except ValidationError as error:
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
        by = f" with the preset '{preset_name}'" if faulty & (set(run_level) - set(chosen)) else ""
        raise HarnessError(f"Cannot build the specification{by}. {explain(error, RunSpec)}") from error
    spec = _without_broken(spec, {method.name for method in parse_methods(methods)})
    names = {method.name for method in spec.methods}
    for name in [name for name in spec.overrides if name not in names]:
        if name not in set(map(control_of, names)):
            raise HarnessError(f"--set names '{name}', which is not among the methods of this run.")
        build_method(MethodSpec(name=name), spec)  # its controls take what they share with it, and refuse nothing
    if spec.group_size is not None and not any(
        "group_size" in method_class(name).Config.model_fields for name in names
    ):
        raise HarnessError("--group-size was given, but no method of this run fits groups of users. Leave it out.")
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
    """Task names from a comma-separated list; `all` is every registered one that is not broken."""
    if text == "all":
        return tuple(task.name for task in usable_tasks())
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        make_task(name)
    return names


def build_method(method: MethodSpec, spec: RunSpec) -> Method:
    """The method with its configuration: preset, then `--group-size`, then `--set`, then the variant's settings.

    A control takes what is set of the method whose place it takes, too, but for what it declares otherwise itself.

    Raises HarnessError for settings that it does not know or take, and for a plug-in that is broken.
    """
    cls: type[Method] = method_class(method.name)
    settings = dict(preset(spec.preset).get("methods", {}).get(method.name, {}))
    if spec.group_size is not None and "group_size" in cls.Config.model_fields:
        settings["group_size"] = spec.group_size
    settings |= _of_the_controlled(cls, spec) | spec.overrides.get(method.name, {}) | method.settings
    try:
        made = cls(cls.Config.model_validate(settings))
        made.config.model_dump_json()  # the cell's hash and record hold it
    except ValidationError as error:
        raise HarnessError(f"Cannot build the method '{method.name}'. {explain(error, cls.Config)}") from error
    except (Exception, SystemExit) as error:
        raise HarnessError(f"Cannot build the method '{method.name}': {cause(error)}.") from error
    made.check_supervision(spec.supervision)
    return made


def _of_the_controlled(control: type[Method], spec: RunSpec) -> dict[str, Any]:
    """What `--set` says of the method whose place a control takes, where the two have the same setting."""
    given = spec.overrides.get(control.control_of, {})
    if not given:
        return {}
    own, theirs = control.Config.model_fields, method_class(control.control_of).Config.model_fields
    return {
        key: value
        for key, value in given.items()
        if key in own and key in theirs and own[key].annotation == theirs[key].annotation
    }


def _without_broken(spec: RunSpec, named: set[str]) -> RunSpec:
    """The run less the plug-ins of `all` or `controls` that are broken; one that was named, or set, must be there."""
    usable = []
    addressed = named | set(spec.overrides) | set(preset(spec.preset).get("methods", {}))
    for method in spec.methods:
        must = named
        try:
            method_class(method.name)
            must = addressed
            build_method(method, spec)
        except HarnessError as error:
            if method.name in must:
                raise
            warnings.warn(f"Left out of the run: {error}", stacklevel=3)
        else:
            usable.append(method)
    if not usable:
        raise HarnessError("None of the methods can be used; see the warnings.")
    return spec.model_copy(update={"methods": tuple(usable)})
