"""A run's folder as another program reads it: what a record needs is required, what else is there is passed over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.api import HarnessError, Regime, Status, printable
from harness.leaderboards.json_files import read_model
from harness.leaderboards.record_schema import Ranking, Sample

_MEND = "Give the --out of a finished `harness compare`; `harness report DIR` rebuilds comparison.json."
_CHARACTERS = 280  # of an answer; longer ones are cut


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Finding(_Loose):
    """What a paired test found, as in comparison.json."""

    difference: float
    p: float
    p_holm: float
    effect_size: float | None = None


class LikelihoodScore(_Loose):
    """As in comparison.json."""

    value: float
    interval: tuple[float, float] | None
    vs_instruct: Finding | None


class Row(_Loose):
    """A row of comparison.json."""

    task: str
    method: str
    variant: str
    seed: int | None
    seeds: list[int]
    status: Status
    reason: str = ""
    metrics: dict[str, float]
    interval: dict[str, tuple[float, float]]
    vs_instruct: dict[str, Finding]
    likelihood: dict[str, LikelihoodScore] = {}
    parse_failures: float | None
    regret_rate: float | None
    mean_loss: float | None = None
    worst_decile: float | None
    queries: int
    users: int
    users_fitted: int
    users_served: int
    samples_used: int
    fit_seconds: float
    eval_seconds: float
    tokens_in: int
    tokens_out: int
    peak_memory_bytes: int
    fit_bytes: int | None = None
    bytes_per_user: float | None = None
    reach_seconds: float | None = None
    sole_answer: str | None = None
    not_finite: int = 0

    @property
    def label(self) -> str:
        """How tests name it: `chameleon:edit=personalized`."""
        return f"{self.method}:{self.variant}" if self.variant else self.method


class PairTest(Finding):
    """A test of comparison.json: `difference` is a's metric less b's."""

    task: str
    metric: str
    a: str
    b: str
    minimum_detectable: float | None


class LooseRanking(Ranking):
    """A ranking of comparison.json."""

    model_config = ConfigDict(extra="ignore")


class RunSpec(_Loose):
    """What the run asked for."""

    model: str
    data: str
    split: str
    regime: Regime
    budget: float
    preset: str
    seeds: list[int]
    group_size: int | None = None


class Comparison(_Loose):
    """comparison.json."""

    spec: dict[str, Any]
    higher_is_better: dict[str, dict[str, bool]]
    rows: list[Row]
    pooled: list[Row] = Field(min_length=1)
    comparisons: list[PairTest]
    rankings: list[LooseRanking]
    likelihood_higher_is_better: dict[str, dict[str, bool]] = {}
    likelihood_tests: list[PairTest] = []
    notes: list[str]


class RunFile(_Loose):
    """run.json."""

    spec: dict[str, Any]
    hardware: dict[str, Any]
    cells: list[str] = []  # folders below cells/ that count; all where none is named


class CellSpec(_Loose):
    """What a cell's numbers depend on."""

    task: str
    task_version: str
    data_fingerprint: str
    method: str
    variant: str
    config: dict[str, Any]
    method_source: str
    model_fingerprint: str
    seed: int


class Cell(_Loose):
    """cell.json."""

    spec: CellSpec
    metrics: dict[str, float]
    started_at: str
    versions: dict[str, str]
    git: dict[str, Any]


class Run:
    """The files of one run. Raises HarnessError for a file that is absent, unreadable or at odds with another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = read_model(RunFile, root / "run.json", _MEND)
        self.comparison = read_model(Comparison, root / "comparison.json", _MEND)
        self.cells: dict[tuple[str, str, str, int], tuple[Cell, Path]] = {}
        ours, theirs = self.file.spec, self.comparison.spec
        differing = [key for key in ours.keys() & theirs if ours[key] != theirs[key]]  # a later harness has more keys
        if differing:
            names = ", ".join(sorted(differing))
            raise HarnessError(f"{root}: comparison.json and run.json differ in what they asked for: {names}. {_MEND}")
        self._read_cells()
        for row in self.comparison.rows:
            self._agree(row)

    def of(self, row: Row) -> list[tuple[Cell, Path]]:
        """The cells of a pooled row, by seed. Raises HarnessError if there is none."""
        found = [pair for key, pair in sorted(self.cells.items()) if key[:3] == (row.task, row.method, row.variant)]
        if not found:
            raise HarnessError(f"{self.root}: {_name(row)} is in comparison.json but has no cell.json. {_MEND}")
        return found

    def samples(self, row: Row, count: int) -> list[Sample]:
        """The first `count` answers of the row's first seed, in the order of evaluation."""
        if not count or not row.seeds:
            return []
        path = self.cells[(row.task, row.method, row.variant, row.seeds[0])][1] / "samples.parquet"
        fields = {**{field: field for field in Sample.model_fields}, "query": "query_id"}
        return [
            Sample(**{field: _cut(answer[column]) for field, column in fields.items()})
            for answer in _head(path, list(fields.values()), count)
        ]

    def _read_cells(self) -> None:
        """Of several records of one cell, left by a change of code, the newest counts, as in comparison.json."""
        cells, ours = self.root / "cells", set(self.file.cells)
        paths = sorted(cells.glob("*/*/*/cell.json"))
        read = [
            (read_model(Cell, path, _MEND), path.parent)
            for path in paths
            if not ours or path.parent.relative_to(cells).as_posix() in ours
        ]
        for cell, folder in sorted(read, key=lambda pair: pair[0].started_at):
            self.cells[(cell.spec.task, cell.spec.method, cell.spec.variant, cell.spec.seed)] = (cell, folder)

    def _agree(self, row: Row) -> None:
        if row.seed is None or not row.metrics:
            return
        found = self.cells.get((row.task, row.method, row.variant, row.seed))
        if found is None:
            raise HarnessError(f"{self.root}: {_name(row)}, seed {row.seed}, has no cell.json. {_MEND}")
        for metric, value in row.metrics.items():
            recorded = found[0].metrics.get(metric, math.nan)
            if not math.isclose(recorded, value, abs_tol=1e-6):
                raise HarnessError(
                    f"{self.root}: comparison.json has {metric} {value:.6g} for {_name(row)}, seed {row.seed}, but "
                    f"{found[1] / 'cell.json'} has {recorded:.6g}. {_MEND}"
                )


def _name(row: Row) -> str:
    return f"{row.label} on {row.task}"


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = printable(value[:_CHARACTERS], keep="\n")
    return shown if len(value) <= _CHARACTERS else shown[:-1] + "…"


def _head(path: Path, columns: list[str], count: int) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet
    from pyarrow import ArrowException

    try:
        return list(parquet.read_table(path, columns=columns).slice(0, count).to_pylist())
    except (ArrowException, OSError) as error:
        raise HarnessError(f"Cannot read {path}: {str(error).splitlines()[0]}. {_MEND}") from error
