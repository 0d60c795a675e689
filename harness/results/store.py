"""Records and the atomic store: one folder per cell, finished when its `cell.json` is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api import HarnessError
from harness.specs.run_spec import SCHEMA_VERSION, CellSpec, RunSpec

if TYPE_CHECKING:
    import pandas as pd

M = TypeVar("M", bound=BaseModel)
Status = Literal["complete", "budget_exhausted", "overran", "failed", "interrupted"]


class CellRecord(BaseModel):
    """What one cell asked for, gave and cost. Times are in seconds, memory in bytes."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    spec: CellSpec
    status: Status
    reason: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    parse_failures: float = 0.0  # share of queries
    queries: int = 0
    users: int = 0
    users_fitted: int = 0
    users_served: int = 0
    serves_newcomers: bool | None = None  # whether users that the fit has never seen get more than the base prompt
    samples_used: int = 0
    counts: dict[str, float] = Field(default_factory=dict)  # method-specific counters
    leaks_removed: int = 0
    prompts_shortened: int = 0
    unanswerable: int = 0  # queries whose prompt fits no context: an empty answer
    records_skipped: int = 0
    notes: list[str] = Field(default_factory=list)
    budget_seconds: float = 0.0
    fit_seconds: float = 0.0
    eval_seconds: float = 0.0
    phases: dict[str, float] = Field(default_factory=dict)  # "untracked" included; adds up to fit_seconds
    tokens_in: int = 0
    tokens_out: int = 0
    fit_tokens_in: int = 0
    fit_tokens_out: int = 0
    fit_bytes: int = 0  # what the fit stores
    peak_memory_bytes: int = 0
    attempts: int = 1
    started_at: str = ""
    hardware: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    git: dict[str, Any] = Field(default_factory=dict)


class RunRecord(BaseModel):
    """`run.json`: the specification a folder belongs to, and the machine that fills it."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    spec: RunSpec
    hardware: dict[str, Any]


class Store:
    """The folder of one run: `run.json`, `cells/<task>/<method>/seed-<n>-<hash8>/{cell.json,samples.parquet}`.

    `pool` is a folder laid out like `cells` that several runs share: finished cells are taken from it and added to it,
    as copies, so that each run's folder is whole.
    """

    def __init__(self, root: Path, pool: Path | None = None) -> None:
        self.root = root
        self.pool = pool

    def check(self, spec: RunSpec, hardware: dict[str, Any], fresh: bool) -> None:
        """Raise HarnessError if the folder holds another run, a run of other hardware, or foreign files."""
        if not (self.root / "run.json").exists():
            if self.root.is_dir() and any(self.root.iterdir()):
                raise HarnessError(f"{self.root} is not empty and has no run.json. Choose another --out.")
            return
        found = self.read_run()
        if found.spec != spec and not fresh:
            raise HarnessError(
                f"{self.root} holds the results of another specification, which differs in "
                f"{_differences(found.spec, spec)}. Choose another --out, repeat the original command, or pass --fresh "
                "to discard what is there."
            )
        if found.hardware != hardware and not fresh:
            raise HarnessError(
                f"{self.root} was begun on other hardware ({found.hardware}); this is {hardware}. Timings of two "
                "machines do not compare: choose another --out, or pass --fresh to discard what is there."
            )

    def open(self, spec: RunSpec, hardware: dict[str, Any], fresh: bool = False) -> None:
        """Claim the folder for `spec` after `check`; `fresh` discards the cells in it."""
        self.check(spec, hardware, fresh)
        if fresh:
            shutil.rmtree(self.root / "cells", ignore_errors=True)
        self.root.mkdir(parents=True, exist_ok=True)
        write_text(self.root / "run.json", RunRecord(spec=spec, hardware=hardware).model_dump_json(indent=2))

    def read_run(self) -> RunRecord:
        """The run's specification. Raises HarnessError if the folder is no run or was written by another version."""
        path = self.root / "run.json"
        if not path.is_file():
            raise HarnessError(f"{self.root} is no results folder: it has no run.json. Give the --out of a comparison.")
        return _parse(RunRecord, path)

    def cell_dir(self, spec: CellSpec) -> Path:
        """Folder of a cell; method and task names come from the registry, so the path needs no cleaning."""
        return _cell_dir(self.root / "cells", spec)

    def finished(self, spec: CellSpec) -> CellRecord | None:
        """The cell's record, unless it has yet to be computed; failed and interrupted cells are computed again."""
        path = self.cell_dir(spec) / "cell.json"
        if not path.exists() and self.pool is not None:
            self._adopt(spec, _cell_dir(self.pool, spec))
        if not path.exists():
            return None
        record = _parse(CellRecord, path)
        return None if record.status in ("failed", "interrupted") else record

    def _adopt(self, spec: CellSpec, pooled: Path) -> None:
        if not (pooled / "cell.json").exists():
            return
        found, ours = _parse(CellRecord, pooled / "cell.json").hardware, self.read_run().hardware
        if found != ours:
            raise HarnessError(
                f"{pooled} was computed on other hardware ({found}); this is {ours}. Timings of two machines do not "
                "compare: choose another --out, or pass --fresh to discard what is there."
            )
        _copy(pooled, self.cell_dir(spec))

    def begin(self, spec: CellSpec) -> int:
        """Count an attempt and return its number, 1 for the first. Survives a kill, unlike the record."""
        folder = self.cell_dir(spec)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "attempts"
        attempt = int(path.read_text()) + 1 if path.exists() else 1
        write_text(path, str(attempt))
        return attempt

    def write(self, record: CellRecord, samples: pd.DataFrame | None) -> None:
        """Samples first, then the record that declares the cell finished; each by rename."""
        folder = self.cell_dir(record.spec)
        folder.mkdir(parents=True, exist_ok=True)
        if samples is not None:
            with replacing(folder / "samples.parquet") as temporary:
                samples.to_parquet(temporary, index=False)
        write_text(folder / "cell.json", record.model_dump_json(indent=2))
        if self.pool is not None and record.status not in ("failed", "interrupted"):
            _copy(folder, _cell_dir(self.pool, record.spec))

    def records(self) -> list[CellRecord]:
        """Every record in the folder, by path."""
        return [_parse(CellRecord, path) for path in sorted(self.root.glob("cells/*/*/*/cell.json"))]

    def samples(self, spec: CellSpec) -> pd.DataFrame:
        """One row per query: user_id, query_id, prompt_sha256, output, prediction, gold, parsed, then the scores.

        `history_items` comes last: how many items the data has of the query's user, before leaks go and any selection.
        """
        import pandas as pd

        return pd.read_parquet(self.cell_dir(spec) / "samples.parquet")


def _cell_dir(cells: Path, spec: CellSpec) -> Path:
    return cells / spec.task / spec.method / f"seed-{spec.seed}-{spec.digest[:8]}"


def _copy(source: Path, target: Path) -> None:
    """Copy a cell's folder; `cell.json`, which declares it finished, comes last."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cell.json"))
    write_text(target / "cell.json", (source / "cell.json").read_text(encoding="utf-8"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds and is deleted if not."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _parse(model: type[M], path: Path) -> M:
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HarnessError(
            f"Cannot read {path}: {str(error).splitlines()[0]}. It was not written by this version of the harness, "
            "or it was edited. Delete the folder it stands in to compute it again."
        ) from error


def _differences(found: RunSpec, asked: RunSpec) -> str:
    before, after = found.model_dump(), asked.model_dump()
    return ", ".join(key for key in before if before[key] != after[key])
