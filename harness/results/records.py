"""What is written of a run and of its cells: `run.json` and each `cell.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from harness.api import Diagnosis, HarnessError, Status
from harness.specs.run_spec import SCHEMA_VERSION, CellSpec, RunSpec

CELL_SCHEMA = 2  # raised when a record says less than is needed to reuse it
M = TypeVar("M", bound=BaseModel)


class CellRecord(BaseModel):
    """What one cell asked for, gave and cost. Times are in seconds, memory in bytes."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = CELL_SCHEMA
    spec: CellSpec
    parts: dict[str, dict[str, str]] = Field(default_factory=dict)  # what the hashes in `spec` were made from
    files: dict[str, str] = Field(default_factory=dict)  # sha256 of what lies beside the record
    status: Status
    reason: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    likelihood: dict[str, float] = Field(default_factory=dict)  # means over `likelihood_queries`; no official metrics
    likelihood_queries: int = 0
    parse_failures: float = 0.0  # share of queries
    queries: int = 0
    users: int = 0
    users_fitted: int = 0
    users_served: int = 0
    users_known: int | None = None  # who get all that anybody gets; None in records of earlier versions
    serves_newcomers: bool | None = None  # whether users that the fit has never seen get what all others do
    samples_used: int = 0
    counts: dict[str, float] = Field(default_factory=dict)  # method-specific counters
    diagnosis: Diagnosis | None = None  # what the fit rests on, measured after it
    leaks_removed: int = 0
    prompts_shortened: int = 0
    prompts_emptied: int = 0  # of those that were asked, prompts whose whole history had to go
    unanswerable: int = 0  # queries whose prompt fits no context: an empty answer
    records_skipped: int = 0
    items_found: int = 0  # history items in the data, usable or not
    items_skipped: int = 0
    notes: list[str] = Field(default_factory=list)
    budget_seconds: float = 0.0
    fit_seconds: float = 0.0
    eval_seconds: float = 0.0
    likelihood_seconds: float = 0.0  # after the evaluation and no part of it
    diagnosis_seconds: float = 0.0  # after the fit, on no clock
    phases: dict[str, float] = Field(default_factory=dict)  # "untracked" included; adds up to fit_seconds
    tokens_in: int = 0
    tokens_out: int = 0
    fit_tokens_in: int = 0
    fit_tokens_out: int = 0
    likelihood_tokens: int = 0  # not among `tokens_in`
    fit_bytes: int = 0  # what the fit stores
    fit_hash: str = ""  # of what the fit stores, "absent" if nothing; "" in earlier records
    answers_of: str = ""  # the cell, by its folder's name, whose answers these are: its fit came out the same
    peak_memory_bytes: int = 0
    attempts: int = 1
    started_at: str = ""
    hardware: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    git: dict[str, Any] = Field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the cell came to answers."""
        return self.status not in ("failed", "interrupted")


class RunRecord(BaseModel):
    """`run.json`: the specification a folder belongs to, and the machine that fills it.

    `cells` are the folders, below `cells/`, of what the run consists of now; others there were computed by other code,
    from other data or the like. Empty in records of earlier versions: all count.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    spec: RunSpec
    hardware: dict[str, Any]
    cells: list[str] = Field(default_factory=list)


def cell_name(spec: CellSpec) -> str:
    """The folder of a cell, below `cells`."""
    return f"{spec.task}/{spec.method}/seed-{spec.seed}-{spec.digest[:8]}"


def read_record(model: type[M], path: Path) -> M:
    """The record in a file. Raises HarnessError, saying what to do, for one that cannot be read."""
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        mend = (
            "Repeat the command that made it to compute the cell again."
            if path.name == "cell.json"
            else "Repeat the command that made it with --fresh, which discards its cells, or with another --out."
        )
        raise HarnessError(
            f"Cannot read {path}: {str(error).splitlines()[0]}. It is damaged, or another version of the harness wrote "
            f"it. {mend}"
        ) from error
