"""An experiment as data: the sweep it runs, the table or figure it fills, and what the paper claims of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.api import HarnessError
from harness.registry import EXPERIMENTS, make_task
from harness.specs.explaining import explain
from harness.specs.resolve import expand_methods, expand_tasks
from harness.specs.run_spec import RunSpec, format_value
from harness.sweeps.sweep_spec import Parameter, Point, SweepSpec, expand, run_spec
from harness.yaml_files import read_yaml

ALL = "all"
_ABSENT = "the data have no such task"
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

    def showing(self, labels: Sequence[str]) -> Layout:
        """With a column for each method that a table lacks; figures stay the paper's."""
        known = [column.method for column in self.columns]
        added = [Column(method=label, title=f"{label} (added)") for label in labels if label not in known]
        return self.model_copy(update={"columns": (*self.columns, *added)}) if self.kind == "table" else self


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
    """One table or figure of the paper. `parameters` are a sweep's, with the paper's values.

    `left_out` maps tasks that the data cannot serve to the reason: see `within`.
    """

    name: str
    title: str
    source: str
    layout: Layout
    parameters: dict[str, Parameter]
    presets: dict[str, Overlay] = Field(default_factory=dict)
    claims: tuple[Claim, ...]
    left_out: dict[str, str] = Field(default_factory=dict)

    def overlay(self, preset: str) -> Overlay:
        """The preset's changes; none if the file names no such preset."""
        return self.presets.get(preset, Overlay())

    def within(self, preset: str, **given: Any) -> ExperimentSpec:
        """Without the tasks that the data lack, `given` as for `points`; with all where they lack all: a run says why.

        Raises HarnessError where they have tasks of the experiment, and none with the splits that it needs.
        """
        asked = self._parameters(preset, given)
        data, regime, split = (asked[key].value if key in asked else None for key in ("data", "regime", "split"))
        found = (
            {} if data is None else {task: _lacking(task, str(data), regime, split or "dev") for task in _names(asked)}
        )
        left_out = {task: why for task, why in found.items() if why}
        if left_out and set(left_out.values()) != {_ABSENT} and len(left_out) == len(found):
            reasons = "; ".join(f"{task}: {why}" for task, why in left_out.items())
            raise HarnessError(f"{self.title} cannot be made of {data}. {reasons}.")
        return self.model_copy(update={"left_out": left_out if len(left_out) < len(found) else {}})

    def points(self, preset: str, models: Sequence[str] = (), **given: Any) -> list[Point]:
        """The runs, the models in turn. `given` fields of RunSpec count over the file's; None means as it has it.

        An axis stays what it is. Raises HarnessError where no data are named: only embedded models have synthetic ones.
        """
        parameters = self._parameters(preset, given)
        if "data" not in parameters:
            raise HarnessError(f"The preset '{preset}' needs LaMP's data: give its folder with --data.")
        if self.left_out:
            kept = [task for task in _names(parameters) if task not in self.left_out]
            parameters["tasks"] = Parameter(value=",".join(kept))
        if models:
            parameters = {"model": Parameter(values=list(models)), **parameters}
        return expand(SweepSpec(name=self.name, parameters=parameters))

    def departures(self, preset: str, spec: RunSpec) -> dict[str, Any]:
        """What of a run is otherwise than the preset has it, of what `harness reproduce` takes as options."""
        usual = run_spec({key: found.value for key, found in self._parameters(preset, {}).items() if not found.values})
        expected = usual.model_copy(update={"tasks": tuple(task for task in usual.tasks if task not in self.left_out)})
        names = ("tasks", "users", "seeds", *(() if self.layout.axis == "budget" else ("budget",)))
        found = {name: getattr(spec, name) for name in names if getattr(spec, name) != getattr(expected, name)}
        own = [text for text in _overrides(spec) if text not in _overrides(expected)]
        own = [text for text in own if text.partition("=")[0] != self.layout.axis]
        return found | ({"set": own} if own else {})

    def tasks(self, preset: str) -> list[str]:
        """Those that the experiment has where nobody chooses and no data lack any."""
        return _names(self._parameters(preset, {}))

    def runs(self, method: str, preset: str) -> bool:
        """Whether a method of that name is among those compared."""
        asked = self._parameters(preset, {})["methods"]
        return any(
            method == found.name for text in asked.values or [asked.value] for found in expand_methods(str(text))
        )

    def _parameters(self, preset: str, given: Mapping[str, Any]) -> dict[str, Parameter]:
        parameters = {**self.parameters, **self.overlay(preset).parameters, "preset": Parameter(value=preset)}
        axes = {key for key, parameter in parameters.items() if parameter.values}
        own = {key: Parameter(value=value) for key, value in given.items() if value is not None and key not in axes}
        return parameters | own


def _overrides(spec: RunSpec) -> list[str]:
    return [
        f"{method}.{key}={format_value(value)}" for method, own in spec.overrides.items() for key, value in own.items()
    ]


def _names(parameters: Mapping[str, Parameter]) -> list[str]:
    given = parameters["tasks"].value
    return list(expand_tasks(given if isinstance(given, str) else ",".join(given)))


def _lacking(task: str, data: str, regime: str | None, split: str) -> str:
    """Why the data cannot serve the task; "" if they can."""
    try:
        found = make_task(task).splits(data)
    except FileNotFoundError:
        return _ABSENT
    if regime == "unseen" and found is not None and not {"train", split} <= set(found):
        return f"it fits on other users than those evaluated, but the data have only the split {', '.join(found)}"
    return ""


class MeasuredPace(_Strict):
    """Seconds that a model took where it was measured.

    Of a `cell`, beside what its record counts. Of a user's answers and likelihoods, by task: a fixed part, a part per
    history item, and the items that users have; nothing of methods that answer `without_model`, no items of those
    `without_history`. Of a `fit`, by method: per example; others use their budget up.
    """

    cell: float
    answer: dict[str, tuple[float, float, int]]
    without_model: tuple[str, ...] = ()
    without_history: tuple[str, ...] = ()
    fit: dict[str, float]


class Common(_Strict):
    """What all experiments share: the paper's names, counterparts of models, paces, deviations."""

    names: dict[str, str]
    counterparts: dict[str, str]
    paces: dict[str, MeasuredPace]
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
