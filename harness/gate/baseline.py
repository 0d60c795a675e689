"""The baseline file: the runs to repeat, what they gave, and how far a repetition may stray."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError, field_validator, model_validator

from harness.api import HarnessError
from harness.registry import MODELS
from harness.results.writing import write_text
from harness.specs.run_spec import RunSpec

ANSWERING = 600.0  # seconds; binds no fit that a gate can afford
NO_TIME = 1e-6


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Answer(NamedTuple):
    """One query as a cell answered it; `prompt` is the beginning of the prompt's sha256."""

    user: str
    query: str
    prompt: str
    output: str
    prediction: str


class Key(NamedTuple):
    """Which cell of which run."""

    run: str
    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.run} / {self.task} / {self.method} / seed {self.seed}"


class Outcome(_Strict):
    """What a cell gave, less everything that depends on the machine's speed."""

    run: str
    task: str
    method: str  # with the settings of the variant
    seed: int
    status: str
    reason: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    counters: dict[str, float] = Field(default_factory=dict)
    likelihood: dict[str, float] = Field(default_factory=dict)
    answers: list[Answer] = Field(default_factory=list)

    @property
    def key(self) -> Key:
        """Identifies the cell within the baseline."""
        return Key(self.run, self.task, self.method, self.seed)


class Run(_Strict):
    """A specification to repeat. `results`: compare all that came out. `budget`: only whether fits kept the budget.

    A fit keeps a budget of b seconds if it takes at most `allowance` * b, which leaves room for a busy machine.
    """

    name: str = Field(min_length=1)
    compare: Literal["results", "budget"] = "results"
    allowance: float = Field(default=2.0, ge=1)
    spec: RunSpec

    @field_validator("spec", mode="before")
    @classmethod
    def _earlier(cls, value: Any) -> Any:
        """A baseline that does not name likelihoods has none to compare."""
        return {"likelihood": False, **value} if isinstance(value, dict) else value


class Tolerance(_Strict):
    """How far a repetition may stray where processors round differently.

    `answers`: share of a cell's answers that may change, by method name, 0 for methods not named. `numbers`: relative
    difference allowed to counters that are no whole numbers, such as a training loss, and to likelihoods. Where answers
    change within the tolerance, the cell's metrics and likelihoods follow them and are not compared.
    """

    answers: dict[str, float] = Field(default_factory=dict)
    numbers: NonNegativeFloat = 0.001


class Baseline(_Strict):
    """`made_with`: versions and model fingerprints at the time; they explain a difference and are not compared."""

    schema_version: Literal[1] = 1
    runs: list[Run] = Field(min_length=1)
    tolerance: Tolerance = Tolerance()
    made_with: dict[str, str] = Field(default_factory=dict)
    cells: list[Outcome] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Baseline:
        for kind, names in (("runs", [run.name for run in self.runs]), ("cells", [cell.key for cell in self.cells])):
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} have the same name")
        return self

    def expected(self) -> list[Key]:
        """Every cell that the runs have, in their order."""
        return [
            Key(run.name, task, method.label, seed)
            for run in self.runs
            for task in run.spec.tasks
            for seed in run.spec.seeds
            for method in run.spec.methods
        ]


def read(path: Path) -> Baseline:
    """The baseline in a file. Raises HarnessError, naming the file and the fault, if there is none or it is broken."""
    try:
        return Baseline.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HarnessError(
            f"There is no baseline {path}. Make one with: harness check --baseline {path} --update --methods ..."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"The baseline {path} cannot be read: {error}.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise HarnessError(
            f"{path} is no baseline of this version of the harness: {place}: {fault['msg']}. Mend it, or take it back "
            "from version control."
        ) from error


def require_cells(baseline: Baseline, path: Path) -> None:
    """Raise HarnessError unless the file holds an outcome for each cell of its runs, and no other."""
    found, expected = {cell.key for cell in baseline.cells}, set(baseline.expected())
    for key in [*sorted(expected - found), *sorted(found - expected)][:1]:
        what = "no outcome of" if key in expected else "an outcome of a cell that none of its runs has:"
        raise HarnessError(f"The baseline {path} holds {what} {key}. After review, run it with --update.")


def write(baseline: Baseline, path: Path) -> None:
    """Write a baseline atomically, an answer per line, so that a change is readable in a diff of the file."""
    text = baseline.model_dump_json(exclude={"cells"}, indent=1).removesuffix("\n}")
    cells = ",\n".join(_cell_text(cell) for cell in baseline.cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f'{text},\n "cells": [\n{cells}\n ]\n}}\n')


def _cell_text(cell: Outcome) -> str:
    head = cell.model_dump_json(exclude={"answers"}).removesuffix("}")
    rows = ",\n".join(f"   {json.dumps(answer, ensure_ascii=False)}" for answer in cell.answers)
    return f'  {head}, "answers": [\n{rows}\n  ]}}' if rows else f'  {head}, "answers": []}}'


def located(spec: RunSpec, path: Path) -> RunSpec:
    """The specification with data and model that stand beside the baseline file, as seen from the working folder."""

    def beside(name: str) -> str:
        return str(path.parent / name) if (path.parent / name).is_dir() and name not in MODELS else name

    return spec.model_copy(update={"data": beside(spec.data), "model": beside(spec.model)})


def relative(spec: RunSpec, path: Path) -> RunSpec:
    """The inverse of `located`: folders as seen from the baseline file, so that the file can move with them."""

    def from_file(name: str) -> str:
        is_folder = Path(name).is_dir() and name not in MODELS
        return os.path.relpath(name, path.parent.resolve()) if is_folder else name

    return spec.model_copy(update={"data": from_file(spec.data), "model": from_file(spec.model)})
