"""Runs what a baseline describes, in a temporary folder, and keeps of each cell what can be compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.gate.baseline import Answer, Baseline, Outcome, Run, located
from harness.results.environment import versions
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.running.experiment import Experiment, Listener

COUNTERS = (
    "queries",
    "users",
    "users_fitted",
    "users_served",
    "samples_used",
    "leaks_removed",
    "prompts_shortened",
    "unanswerable",
    "records_skipped",
    "parse_failures",
    "tokens_in",
    "tokens_out",
    "fit_tokens_in",
    "fit_tokens_out",
    "fit_bytes",
)


@dataclass
class Repetition:
    """What running a baseline's specifications gave; `notes` are what a reader must know but no difference."""

    cells: list[Outcome]
    made_with: dict[str, str]
    notes: list[str]


def repeat(baseline: Baseline, path: Path, listener: Listener) -> Repetition:
    """Run every specification of the baseline in `path`. Raises HarnessError for what no cell can do without."""
    repetition = Repetition([], {f"version of {name}": value for name, value in versions().items()}, [])
    with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
        for run in baseline.runs:
            store = Store(Path(folder) / f"run-{len(repetition.cells)}")
            # A diagnosis is not compared, and would take a third of Chameleon's time.
            records = Experiment(located(run.spec, path), store, listener, diagnose=False).run()
            repetition.cells += [outcome(run, record, store) for record in records]
            repetition.made_with |= {f"model {run.spec.model}": records[0].spec.model_fingerprint[:16]}
            repetition.notes += _notes(run, records)
    return repetition


def outcome(run: Run, record: CellRecord, store: Store) -> Outcome:
    """What of a cell's record is compared: everything but seconds, memory and where it was made."""
    spec = record.spec
    known = Outcome(
        run=run.name, task=spec.task, method=spec.label, seed=spec.seed, status=record.status, reason=record.reason
    )
    if record.status == "failed":
        return known
    if run.compare == "budget":
        kept = record.fit_seconds <= run.allowance * record.budget_seconds
        known.status, known.reason = ("kept the budget", "") if kept else ("broke the budget", _seconds(record))
        return known
    known.metrics, known.likelihood = record.metrics, record.likelihood
    known.counters = {name: float(getattr(record, name)) for name in COUNTERS} | record.counts
    known.answers = list(_answers(store, record))
    return known


def _answers(store: Store, record: CellRecord) -> Iterator[Answer]:
    for row in store.samples(record.spec).to_dict("records"):
        yield Answer(row["user_id"], row["query_id"], row["prompt_sha256"][:8], row["output"], row["prediction"])


def _notes(run: Run, records: list[CellRecord]) -> Iterator[str]:
    for record in records:
        if run.compare == "budget" and record.status == "complete":
            yield (
                f"{run.name} / {record.spec.task} / {record.spec.label}: the budget of {record.budget_seconds:g} s did "
                "not bind on this machine, so whether it is kept was not tested"
            )


def _seconds(record: CellRecord) -> str:
    return f"the fit took {record.fit_seconds:.1f} s of {record.budget_seconds:g} s"
