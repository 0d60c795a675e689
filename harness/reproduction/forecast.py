"""What a reproduction would compute: distinct cells, how long, and how much disk. Loads no model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.api import HarnessError
from harness.registry import make_task, method_of
from harness.reproduction.experiment_spec import ExperimentSpec, MeasuredPace
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.running.task_data import read_split
from harness.specs.run_spec import FIT_ALONE, RunSpec
from harness.sweeps.planned_cells import cells_left, distinct_cells
from harness.sweeps.sweep_spec import Point

BYTES_PER_CELL = 650_000  # measured with 400 queries: a copy in the pool and one in each point, plots besides


@dataclass(frozen=True)
class Plan:
    """One experiment: cells its points ask for, those that no earlier one computes, and seconds at most.

    `own` holds what tells the latter apart, as `planned_cells` gives it.
    """

    name: str
    points: int
    cells: int
    own: tuple[str, ...]
    at_most: float

    @property
    def new(self) -> int:
        """Cells that no earlier experiment computes."""
        return len(self.own)


def plans(chosen: Sequence[tuple[ExperimentSpec, Sequence[Point]]]) -> list[Plan]:
    """The experiments in the order they will run, each sharing the cells of those before it."""
    known: dict[str, float] = {}
    found = []
    for spec, points in chosen:
        own = distinct_cells(points)
        new = {key: budget for key, budget in own.items() if key not in known}
        known |= new
        found.append(Plan(spec.name, len(points), len(own), tuple(new), sum(new.values())))
    return found


class Forecast:
    """Seconds of cells to come: by the paces of their model, corrected by the cells that OUT already holds."""

    def __init__(self, out: Path, paces: Mapping[str, MeasuredPace]) -> None:
        self._records = list(Store(out).ended())
        self._paces = paces
        self._users = cache(_users)

    def seconds(self, cells: Sequence[str], each: float | None) -> float | None:
        """Of planned cells; where nothing is known of the model, the mean of OUT's, else `each` of them.

        None where that is unknown too. What has nothing to fit answers once, whatever the budgets and seeds.
        """
        answered: set[str] = set()
        found = [self._cell(json.loads(cell), answered) for cell in cells]
        known = [value for value in found if value is not None]
        if len(known) == len(found):
            return sum(known)
        spent = [record.fit_seconds + record.eval_seconds for record in self._records]
        mean = sum(spent) / len(spent) if spent else each
        return None if mean is None else mean * len(cells)

    def left(self, cells: Sequence[str]) -> list[str]:
        """Those without a finished record in OUT, as `cells_left` tells them."""
        return cells_left(cells, self._records)

    def _cell(self, cell: Mapping[str, Any], answered: set[str]) -> float | None:
        pace = self._paces.get(cell["model"])
        if pace is None or cell["task"] not in pace.answer or cell["users"] is None:
            return None
        cell = {**cell, "users": min(cell["users"], self._users(cell["task"], cell["data"], cell["split"]))}
        kind = (cell["model"], cell["task"])
        alike = [record for record in self._records if (record.spec.model, record.spec.task) == kind]
        own = [record for record in alike if record.spec.label == cell["method"]]
        fitting = _fitting(pace, cell, own)
        if not fitting:
            answers = json.dumps({name: value for name, value in cell.items() if name not in FIT_ALONE})
            if answers in answered:
                return pace.cell
            answered.add(answers)
        return pace.cell + _correction(pace, own or alike) * _answering(pace, cell) + fitting


def _users(task: str, data: str, split: str) -> float:
    """How many users the data have, who may be fewer than are asked for; infinite where they cannot be read."""
    try:
        return len({query.user for query in read_split(make_task(task), data, split).queries})
    except HarnessError:  # the run will say why
        return math.inf


def _correction(pace: MeasuredPace, records: Sequence[CellRecord]) -> float:
    """How much longer than the pace says these cells took to answer; 1 without any."""
    expected = sum(
        _answering(pace, {**record.spec.model_dump(), "method": record.spec.label, "users": record.users})
        for record in records
    )
    spent = sum(_spent(record) - record.fit_seconds for record in records)
    return spent / expected if expected else 1.0


def _answering(pace: MeasuredPace, cell: Mapping[str, Any]) -> float:
    """Seconds for the answers of a cell's users, likelihoods included."""
    if method_of(cell["method"]) in pace.without_model:
        return 0.0
    fixed, item, most = pace.answer[cell["task"]]
    shows = cell["eval_history"] == "own" and method_of(cell["method"]) not in pace.without_history
    shown = min(cell["history"], most) if shows else 0
    return float(cell["users"] * (fixed + item * shown))


def _fitting(pace: MeasuredPace, cell: Mapping[str, Any], known: Sequence[CellRecord]) -> float:
    """Seconds of a fit: as the method's earlier ones on the task, if all came to their end, and up to the budget."""
    if known and all(record.status == "complete" for record in known):
        each = sum(record.fit_seconds for record in known) / sum(
            _examples(r.spec.model_dump()) or r.users for r in known
        )
    else:
        each = pace.fit.get(method_of(cell["method"]), math.inf)
    return min(cell["budget"], each * _examples(cell))


def _examples(cell: Mapping[str, Any]) -> int:
    return int((cell["fit_users"] or cell["users"] or 0) * cell["supervision"])


def _spent(record: CellRecord) -> float:
    return record.fit_seconds + record.diagnosis_seconds + record.eval_seconds + record.likelihood_seconds


def answering_seconds(spec: RunSpec) -> float | None:
    """Seconds that evaluating a run's cells would take, as fast as the last run of its model under runs/ answered.

    None without such a run, and where all users of the data are asked for: how many those are, only the data says.
    """
    for file in sorted(Path("runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        store = Store(file.parent)
        try:
            if store.read_run().spec.model != spec.model:
                continue
        except HarnessError:  # damaged, or of another version
            continue
        records = list(store.ended())
        if spec.users is not None and (users := sum(record.users for record in records)):
            return spec.size * spec.users * sum(record.eval_seconds for record in records) / users
    return None
