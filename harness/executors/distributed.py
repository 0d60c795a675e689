"""Cells of runs on Ray: planned and computed by workers, each left in OUT/cells as the local executor leaves it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness.api import HarnessError, Status
from harness.executors.cell_worker import CellWorker, Computed, RemoteCell, RemotePlan, UnfitNode
from harness.executors.ray_pool import Lost, RayPool
from harness.results.records import CellRecord
from harness.results.staleness import changed
from harness.results.store import Store
from harness.running.experiment import Listener
from harness.specs.run_spec import RunSpec

INTERRUPTED = "interrupted by Ctrl-C or SIGTERM"
PATIENCE = 90.0  # seconds until what another node wrote must be seen here; NFS may say for 60 that it is not there


@dataclass(frozen=True)
class _Job:
    """A distinct cell, the first run that asks for it, why that has to compute it again, and who else takes a copy."""

    run: RunSpec
    cell: RemoteCell
    machine: dict[str, Any]
    why: str
    stores: list[Store] = field(default_factory=list)


def compute_run(spec: RunSpec, store: Store, listener: Listener, save_fits: bool, fresh: bool) -> None:
    """What `Experiment.run` does, by workers: every cell of the run has its record in the store, which has no pool.

    Its folder must be one that all nodes share. A cell whose workers all die is failed, and the others go on. Raises
    HarnessError for what no cell can do without, and KeyboardInterrupt after recording the interrupted cells.
    """
    _compute([(spec, store)], store.root, listener, save_fits, fresh, strict=True)


def compute_points(runs: Sequence[tuple[RunSpec, Store]], pool: Path, listener: Listener) -> None:
    """As `compute_run` for runs that share cells, each once, in `pool`, a folder `cells`; their stores take copies.

    A cell whose model or data cannot be had is a failed one of its run: another run may have another model. Raises
    HarnessError for a node that is unlike the others, or whose disk is full: it would fail all that it is given.
    """
    _compute(runs, pool.parent, listener, save_fits=False, fresh=False, strict=False)


def _compute(
    runs: Sequence[tuple[RunSpec, Store]], out: Path, listener: Listener, save_fits: bool, fresh: bool, strict: bool
) -> None:
    root, jobs = Store(out), dict[str, _Job]()
    worker = (str(out.resolve()), os.getcwd(), torch.get_num_threads(), save_fits, not strict)
    with RayPool(CellWorker, worker, {spec.device for spec, _ in runs}, listener.stage) as pool:
        plans = _plan(pool, [spec for spec, _ in runs])
        for (spec, store), plan in zip(runs, plans, strict=True):
            store.open(spec, plan.machine, fresh, [cell.spec for cell in plan.cells])
            for cell in plan.cells:
                # A pool has cells that were asked for otherwise: only a run's own folder tells what changed since.
                why = cell.why or ("" if cell.finished else changed(store, cell.spec, cell.parts))
                job = jobs.setdefault(cell.spec.digest, _Job(spec, cell, plan.machine, why))
                if store.root != root.root:
                    job.stores.append(store)
        _compute_missing(pool, jobs, _take_finished(jobs, root, listener, fresh), root, listener, strict)
    for job in jobs.values():
        _wait_for(_record_of(job, root))
        _hand_out(job, root)


def _plan(pool: RayPool, specs: Sequence[RunSpec]) -> list[RemotePlan]:
    """What workers say of each run. Raises HarnessError where they cannot, for none of its cells can be named then."""
    found: dict[str, RemotePlan] = {}
    for key, outcome in pool.map("plan", {str(n): (spec.model_dump_json(),) for n, spec in enumerate(specs)}):
        if isinstance(outcome, Lost):
            raise outcome.error if isinstance(outcome.error, HarnessError) else HarnessError(_unplanned(outcome))
        found[key] = RemotePlan.model_validate_json(outcome)
    return [found[str(n)] for n in range(len(specs))]


def _take_finished(jobs: Mapping[str, _Job], root: Store, listener: Listener, fresh: bool) -> dict[str, _Job]:
    """Tell of the cells, as `Experiment.run` does, and give those that are to be computed."""
    listener.planned([job.cell.spec for job in jobs.values()])
    missing = {digest: job for digest, job in jobs.items() if fresh or not job.cell.finished}
    for job in () if fresh else missing.values():
        if job.why:
            listener.recomputing(job.cell.spec, job.why)
    for digest, job in jobs.items():
        if digest not in missing:
            record, why = root.look(job.cell.spec)
            if record is None:
                raise HarnessError(f"A worker found a cell finished in {root.root}, which is not so here: {why}.")
            _hand_out(job, root)
            listener.finished(record, reused=True)
    return missing


def _compute_missing(
    pool: RayPool, jobs: Mapping[str, _Job], missing: Mapping[str, _Job], root: Store, listener: Listener, strict: bool
) -> None:
    calls = {digest: (job.run.model_dump_json(), digest, job.machine) for digest, job in missing.items()}
    try:
        with closing(pool.map("compute", calls)) as outcomes:
            for digest, outcome in outcomes:
                if isinstance(outcome, Lost):
                    if isinstance(outcome.error, HarnessError if strict else UnfitNode):
                        raise outcome.error
                    listener.finished(_write(jobs[digest], "failed", outcome.reason, outcome.attempts, root), False)
                    continue
                computed = Computed.model_validate_json(outcome)
                for text in computed.warnings:
                    warnings.warn(text, stacklevel=2)
                if _record_of(jobs[digest], root).exists():  # else its copies are made when it can be seen here
                    _hand_out(jobs[digest], root)
                listener.finished(computed.record, computed.reused)
    except KeyboardInterrupt:
        begun = pool.running
        pool.stop()
        for digest in begun:
            if root.look(jobs[digest].cell.spec)[0] is None:
                _write(jobs[digest], "interrupted", INTERRUPTED, 1, root)
        raise


def _write(job: _Job, status: Status, reason: str, attempts: int, root: Store) -> CellRecord:
    """The record of a cell whose worker left none."""
    record = CellRecord(
        spec=job.cell.spec,
        parts=job.cell.parts,
        status=status,
        reason=reason,
        attempts=root.attempts(job.cell.spec) or attempts,
        budget_seconds=job.cell.spec.budget,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        hardware=job.machine,
    )
    root.write(record, None)
    _hand_out(job, root)
    return record


def _hand_out(job: _Job, root: Store) -> None:
    """Give every run that asks for a cell its copy, by which the run can be rebuilt while others are computed."""
    for store in job.stores:
        if store.finished(job.cell.spec) is None:
            store.take(job.cell.spec, root)


def _record_of(job: _Job, root: Store) -> Path:
    return root.cell_dir(job.cell.spec) / "cell.json"


def _unplanned(lost: Lost) -> str:
    return f"No worker on Ray could say which cells the run has: {lost.reason}."


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise HarnessError(f"A worker has written {path}, which is not to be seen here. Repeat the command.")
        time.sleep(0.5)
