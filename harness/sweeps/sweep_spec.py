"""A sweep file is a W&B sweep configuration, so that `harness sweep` and `wandb sweep` read the same one."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.api import HarnessError
from harness.registry import unknown
from harness.specs.explaining import explain
from harness.specs.resolve import resolve
from harness.specs.run_spec import RunSpec, format_value, join_names, parse_budget, parse_seeds
from harness.yaml_files import read_yaml

POINT = "point"  # the parameter whose values are whole points, for a list instead of a grid
MOST_POINTS = 10_000
_BUDGET = "20m"
_LONGEST_SLUG = 60
_ONE_OF_BOTH = "give either `value`, or `values` with at least one entry, as in {value: 4} or {values: [1, 2]}"


class Parameter(BaseModel):
    """One setting: a `value` for all points, or the `values` of an axis."""

    model_config = ConfigDict(extra="forbid")

    value: Any = None
    values: list[Any] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _is_a_mapping(cls, given: Any) -> Any:
        if not isinstance(given, dict | Parameter):
            raise ValueError(_ONE_OF_BOTH)
        return given

    @model_validator(mode="after")
    def _one_of_both(self) -> Parameter:
        if len(self.model_fields_set) != 1 or ("values" in self.model_fields_set and not self.values):
            raise ValueError(_ONE_OF_BOTH)
        return self


class SweepSpec(BaseModel):
    """A sweep. `parameters` maps fields of RunSpec, or METHOD.KEY, to a value or an axis; `program`, `command` and
    `metric` are W&B's and unused here."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    method: Literal["grid"] = "grid"
    parameters: dict[str, Parameter]
    program: str | None = None
    command: list[str] | None = None
    metric: dict[str, Any] | None = None

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The swept parameters in the file's order."""
        return {key: parameter.values for key, parameter in self.parameters.items() if parameter.values}


@dataclass(frozen=True)
class Point:
    """One run of a sweep; `values` holds what the axes are set to there."""

    values: dict[str, Any]
    spec: RunSpec

    @property
    def label(self) -> str:
        """`group_size=20, history=5`."""
        return _label(self.values)

    @property
    def slug(self) -> str:
        """A folder's name: the label without odd characters, and a hash that tells two points apart."""
        digest = hashlib.sha256(self.spec.model_dump_json().encode()).hexdigest()[:8]
        cleaned = re.sub(r"[^A-Za-z0-9=._-]+", "-", self.label).strip("-.")[:_LONGEST_SLUG]
        return f"{cleaned}-{digest}" if cleaned else digest


def read_sweep(path: Path) -> SweepSpec:
    """The sweep in a YAML file. Raises HarnessError naming the file and the key at fault."""
    loaded = read_yaml(path, "sweep")
    try:
        return SweepSpec.model_validate({"name": path.stem, **loaded})
    except ValidationError as error:
        raise HarnessError(f"{path} is no sweep. {explain(error, SweepSpec)}") from error


def default_folder(sweep: SweepSpec) -> Path:
    """runs/<name>: the same for the same file, so that a second call goes on where the first was stopped."""
    return Path("runs") / (re.sub(r"[^A-Za-z0-9._-]+", "-", sweep.name).strip("-.") or "sweep")


def expand(sweep: SweepSpec, preset_name: str | None = None) -> list[Point]:
    """The points, the last axis fastest; each is checked here, so that a sweep does not stop half-way at a bad one.

    `preset_name` counts where the file names no preset. Raises HarnessError for an unknown key or a bad value.
    """
    fixed = {key: parameter.value for key, parameter in sweep.parameters.items() if not parameter.values}
    if preset_name is not None:
        fixed.setdefault("preset", preset_name)
    axes = sweep.axes
    if (count := math.prod(map(len, axes.values()))) > MOST_POINTS:
        raise HarnessError(f"Sweep {sweep.name} has {count} points; {MOST_POINTS} is the most that one sweep may have.")
    points = []
    for combination in itertools.product(*axes.values()):
        values = _flatten(dict(zip(axes, combination, strict=True)))
        try:
            points.append(Point(values, run_spec({**fixed, **values})))
        except HarnessError as error:
            raise HarnessError(f"Sweep {sweep.name}, point {_label(values) or 'of no axis'}: {error}") from error
    return points


def run_spec(settings: Mapping[str, Any]) -> RunSpec:
    """The specification that flat settings name: fields of RunSpec, and METHOD.KEY for a method's own."""
    given: dict[str, Any] = {"budget": _BUDGET}
    overrides: dict[str, dict[str, Any]] = {}
    known = [name for name in RunSpec.model_fields if name != "overrides"]
    for key, value in _flatten(dict(settings)).items():
        method, dot, field = key.partition(".")
        if dot:
            overrides.setdefault(method, {})[field] = value
        elif key not in known:
            raise HarnessError(unknown("setting", key, [*known, "METHOD.KEY"]))
        else:
            given[key] = value
    names = {key: join_names(key, given.pop(key)) for key in ("methods", "tasks", "preset") if key in given}
    if isinstance(given["budget"], str):
        given["budget"] = parse_budget(given["budget"])
    if "seeds" in given:
        given["seeds"] = parse_seeds(given["seeds"])
    return resolve(preset_name=names.pop("preset", "tiny"), **names, overrides=overrides, **given)


def _label(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={format_value(value)}" for key, value in values.items())


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """A point of a list stands for the settings it holds."""
    point = values.pop(POINT, {})
    if not isinstance(point, dict) or not all(isinstance(key, str) for key in point):
        raise HarnessError(f"Each value of `{POINT}` must map settings to values; this one is {str(point)[:80]}.")
    return {**values, **point}
