"""A sweep's cells as jobs for workers, and the points' runs put together from what workers left."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.reporting.comparison_report import build, write
from harness.results.store import CellRecord, Store
from harness.running.planning import plan_run
from harness.specs.run_spec import RunSpec
from harness.sweeps.planned_cells import planned_cells
from harness.sweeps.points import PointResult, SweepListener
from harness.sweeps.sweep_spec import Point


@dataclass(frozen=True)
class Computed:
    """The folder of a run of one cell, None if its worker left none; `said` is what the worker, or Ray, says of it."""

    folder: Path | None
    said: str


def distinct_jobs(points: Sequence[Point]) -> dict[str, RunSpec]:
    """A run of one cell for every distinct cell, by a short name; its cell has the same hash as in its points."""
    return {key: job for point in reversed(points) for key, job in _jobs(point.spec)}


def gather_points(
    points: Sequence[Point], computed: Mapping[str, Computed], out: Path, listener: SweepListener
) -> list[PointResult]:
    """Each point's run in OUT/points/<slug>/, as `run_points` leaves it, from what `computed` holds by job.

    A cell without a record is recorded as failed, for the reason that its worker or Ray gave; so is one of other
    hardware than the point's first, since their timings do not compare.
    """
    results = []
    for number, point in enumerate(points, start=1):
        listener.point(number, len(points), point.label or point.slug)
        store = Store(out / "points" / point.slug)
        _gather(store, point.spec, computed)
        comparison = build(store)
        write(comparison, store.root)
        results.append(PointResult(point, store.root, comparison))
    return results


def _jobs(spec: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    for method in spec.methods:
        own = {name: value for name, value in spec.overrides.items() if name == method.name}
        for task in spec.tasks:
            for seed in spec.seeds:
                changes = {"methods": (method,), "tasks": (task,), "seeds": (seed,), "overrides": own}
                job = spec.model_copy(update=changes)
                [(key, _)] = planned_cells(job)
                yield hashlib.sha256(key.encode()).hexdigest()[:16], job


def _gather(store: Store, spec: RunSpec, computed: Mapping[str, Computed]) -> None:
    found: list[tuple[CellRecord, Store | None]] = []
    for key, job in _jobs(spec):
        folder, said = computed[key].folder, computed[key].said
        worker = None if folder is None else Store(folder)
        left = worker.records() if worker else []
        if worker and not left:
            said = f"{folder} is empty here: --out must be a folder that all nodes share"
        found += [(record, worker) for record in left] or [(_failed(job, said), None)]
    hardware = next((record.hardware for record, worker in found if worker), {})
    store.open(spec, hardware, fresh=True, cells=[record.spec for record, _ in found])
    for record, worker in found:
        if worker is not None and record.hardware == hardware:
            store.take(record.spec, worker)
        else:
            store.write(record if worker is None else _elsewhere(record), None)


def _failed(job: RunSpec, said: str) -> CellRecord:
    """The record of a cell that left none. It names the head's processor: what a worker has is not known here."""
    with warnings.catch_warnings(action="ignore"):
        [cell] = plan_run(job.model_copy(update={"device": "cpu"})).cells
    return CellRecord(
        spec=cell.spec,
        parts=cell.parts,
        status="failed",
        reason=said.removeprefix("failed: "),
        budget_seconds=job.budget,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _elsewhere(record: CellRecord) -> CellRecord:
    reason = f"computed on other hardware ({record.hardware}) than the point's first cell: their timings do not compare"
    return record.model_copy(update={"status": "failed", "reason": reason})
