"""What a reproduction would compute: distinct cells, how long, and how much disk. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.reproduction.experiment_spec import ExperimentSpec
from harness.results.store import CellRecord, RunRecord
from harness.specs.run_spec import RunSpec
from harness.sweeps.planned_cells import distinct_cells
from harness.sweeps.sweep_spec import Point

BYTES_PER_CELL = 650_000  # measured with 400 queries: a copy in the pool and one in each point, plots besides


@dataclass(frozen=True)
class Plan:
    """One experiment: cells its points ask for, those that no earlier one computes, and seconds at most."""

    name: str
    points: int
    cells: int
    new: int
    at_most: float


def plans(chosen: Sequence[tuple[ExperimentSpec, Sequence[Point]]]) -> list[Plan]:
    """The experiments in the order they will run, each sharing the cells of those before it."""
    known: dict[str, float] = {}
    found = []
    for spec, points in chosen:
        own = distinct_cells(points)
        new = {key: budget for key, budget in own.items() if key not in known}
        known |= new
        found.append(Plan(spec.name, len(points), len(own), len(new), sum(new.values())))
    return found


def seconds_per_cell(out: Path) -> float | None:
    """Mean seconds of the cells that OUT already holds; None if it holds none."""
    spent = [record.fit_seconds + record.eval_seconds for record in _finished(out)]
    return sum(spent) / len(spent) if spent else None


def answering_seconds(spec: RunSpec, runs: Path = Path("runs")) -> float | None:
    """Seconds that evaluating a run's cells would take, as fast as the last run of its model in `runs` answered.

    None without such a run, and where all users of the data are asked for: how many those are, only the data says.
    """
    for file in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        if RunRecord.model_validate_json(file.read_text(encoding="utf-8")).spec.model != spec.model:
            continue
        records = _finished(file.parent)
        if spec.users is not None and (users := sum(record.users for record in records)):
            cells = len(spec.methods) * len(spec.tasks) * len(spec.seeds)
            return cells * spec.users * sum(record.eval_seconds for record in records) / users
    return None


def _finished(out: Path) -> list[CellRecord]:
    paths = sorted((out / "cells").glob("*/*/*/cell.json"))
    records = [CellRecord.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]
    return [record for record in records if record.status != "failed"]
