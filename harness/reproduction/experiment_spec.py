"""An experiment as data: the sweep it runs, the table or figure it fills, and what the paper claims of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.api import HarnessError
from harness.registry import EXPERIMENTS
from harness.specs.explaining import explain
from harness.specs.yaml_files import Readable, read_yaml
from harness.sweeps.sweep_spec import Parameter, Point, SweepSpec, expand

ALL = "all"
OWN = "table1"  # an experiment that is sure to be the harness's own
M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """A method's label and the paper's name for it; `reported`: its label among the reported numbers, if another."""

    method: str
    title: str
    reported: str = ""


class Layout(_Strict):
    """`table`: a row per task and metric, a column per method. `lines` and `columns`: figures over the axis `axis`."""

    kind: Literal["table", "lines", "columns"]
    columns: tuple[Column, ...] = ()
    lines: tuple[Column, ...] = ()
    axis: str = ""
    label: str = ""

    @property
    def methods(self) -> tuple[Column, ...]:
        """What is shown, in the paper's order."""
        return self.columns or self.lines


class Claim(_Strict):
    """What the paper says (`quote`), as comparisons: `better` beats each of `than`, or `trend` improves along the axis.

    `at` and `than_at` name points of the axis by number, -1 for the last; without them a claim is about every point,
    the two sides at the same one. With `over`, what is compared is each side's improvement on that method at the same
    point, by the first metric alone: it is a mean, so that the improvements of single answers add up to it. Every task
    that the experiment runs counts.
    """

    quote: str
    source: str
    better: str = ""
    than: tuple[str, ...] = ()
    at: int | None = None
    than_at: int | None = None
    over: str = ""
    trend: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        if bool(self.trend) == bool(self.better) or bool(self.better) != bool(self.than):
            raise ValueError("give either `trend`, or `better` and `than`")
        if (self.at is None) != (self.than_at is None):
            raise ValueError("give both `at` and `than_at`, or neither")
        if self.over and self.at is None:
            raise ValueError("`over` compares two points: give `at` and `than_at`")
        return self


class Overlay(_Strict):
    """What a preset changes, how it is scaled, in words, and how long a cell took where it was measured."""

    note: str = ""
    seconds_per_cell: float | None = None
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class ExperimentSpec(_Strict):
    """One table or figure of the paper. `parameters` are a sweep's, with the paper's values."""

    name: str
    title: str
    source: str
    layout: Layout
    parameters: dict[str, Parameter]
    presets: dict[str, Overlay] = Field(default_factory=dict)
    claims: tuple[Claim, ...]

    def overlay(self, preset: str) -> Overlay:
        """The preset's changes; none if the file names no such preset."""
        return self.presets.get(preset, Overlay())

    def points(self, preset: str, models: Sequence[str] = (), **given: Any) -> list[Point]:
        """The runs, the models in turn. `given` fields of RunSpec count over the file's; None means as it has it.

        Raises HarnessError where no data are named: only embedded models have synthetic ones.
        """
        parameters = {**self.parameters, **self.overlay(preset).parameters, "preset": Parameter(value=preset)}
        parameters |= {key: Parameter(value=value) for key, value in given.items() if value is not None}
        if "data" not in parameters:
            raise HarnessError(f"The preset '{preset}' needs LaMP's data: give its folder with --data.")
        if models:
            parameters = {"model": Parameter(values=list(models)), **parameters}
        points = expand(SweepSpec(name=self.name, parameters=parameters))
        # The paper has no likelihoods: its layouts and claims would not show them.
        return [replace(point, spec=point.spec.model_copy(update={"likelihood": False})) for point in points]


class Common(_Strict):
    """What all experiments share: the paper's names, the paper's counterpart of each model, known deviations."""

    names: dict[str, str]
    counterparts: dict[str, str]
    deviations: tuple[str, ...]


def experiments(name: str) -> list[ExperimentSpec]:
    """The experiment of that name, or all in alphabetical order, tables before figures.

    Raises HarnessError if it is unknown or broken; a broken one is left out of all, with a warning.
    """
    names = sorted(EXPERIMENTS.names(), key=lambda known: (known.startswith("figure"), known))
    if name != ALL:
        return [_read(name)]
    return [experiment for known in names if (experiment := _read_or_warn(known))]


def common() -> Common:
    """`common.yaml`, which stands beside the harness's own experiments. Raises HarnessError if it is broken."""
    path = files(EXPERIMENTS.target(OWN)) / "common.yaml"
    return _checked(Common, read_yaml(path, "file"), str(path))


def read_experiment(path: Readable, name: str) -> ExperimentSpec:
    """The experiment in a YAML file. Raises HarnessError naming the file and the key at fault."""
    return _checked(ExperimentSpec, {"name": name, **read_yaml(path, "experiment")}, str(path))


def _read(name: str) -> ExperimentSpec:
    return _checked(ExperimentSpec, {"name": name, **EXPERIMENTS.read_yaml(name)}, EXPERIMENTS.place(name))


def _read_or_warn(name: str) -> ExperimentSpec | None:
    try:
        return _read(name)
    except HarnessError as error:
        warnings.warn(f"Left out: {error}", stacklevel=3)
        return None


def _checked(model: type[M], values: dict[str, Any], where: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise HarnessError(f"{where} cannot be used. {explain(error, model)}") from error
