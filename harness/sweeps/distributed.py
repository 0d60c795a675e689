"""A sweep's cells on Ray: one task per distinct cell, which leaves it in a pool of cells that all workers can reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.api import HarnessError
from harness.specs.run_spec import RunSpec
from harness.sweeps.planned_cells import planned_cells
from harness.sweeps.sweep_spec import Point

DEATHS = 2  # how often a cell is begun again, on a fresh budget, after its worker died


def compute_cells(points: Sequence[Point], out: Path, done: Callable[[int, int, str], None]) -> None:
    """Compute what the points need into OUT/cells; OUT must be a folder that all nodes share.

    A task has a node's processors, or a GPU, to itself: a budget in seconds must not measure its neighbours. A worker
    that dies is replaced and the attempt counted. `done` is told (cells finished, of how many, which). RAY_ADDRESS
    names a running cluster; without it Ray starts here.
    """
    ray = _import()
    jobs = distinct_jobs(points)
    ray.init(include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        task = ray.remote(**_share(ray), max_retries=DEATHS)(compute)
        waiting = {
            task.remote(job.model_dump_json(), str(out.resolve()), key, torch.get_num_threads()): job
            for key, job in jobs.items()
        }
        total = len(waiting)
        while waiting:
            [ready], _ = ray.wait(list(waiting))
            job = waiting.pop(ready)
            done(
                total - len(waiting),
                total,
                f"{job.tasks[0]} {job.methods[0].label} seed {job.seeds[0]}: {_outcome(ray, ready)}",
            )
    finally:
        ray.shutdown()


def distinct_jobs(points: Sequence[Point]) -> dict[str, RunSpec]:
    """A run of one cell for every distinct cell, by a short name; its cell has the same hash as in its points."""
    jobs: dict[str, RunSpec] = {}
    for point in points:
        for method in point.spec.methods:
            own = {name: value for name, value in point.spec.overrides.items() if name == method.name}
            for task in point.spec.tasks:
                for seed in point.spec.seeds:
                    changes = {"methods": (method,), "tasks": (task,), "seeds": (seed,), "overrides": own}
                    job = point.spec.model_copy(update=changes)
                    [(key, _)] = planned_cells(job)
                    jobs.setdefault(hashlib.sha256(key.encode()).hexdigest()[:16], job)
    return jobs


def compute(spec: str, out: str, key: str, threads: int) -> str:
    """What a worker does: one cell, in a folder of its own that survives the worker, shared through the pool."""
    from harness.commands.terminal import quieten_libraries
    from harness.results.store import Store
    from harness.running.experiment import Experiment
    from harness.running.progress import Quiet

    quieten_libraries()
    torch.set_num_threads(threads)  # Ray gives its workers as many as they have processors
    store = Store(Path(out) / "workers" / key, Path(out) / "cells")
    [record] = Experiment(RunSpec.model_validate_json(spec), store, Quiet()).run()
    return f"{record.status}, attempt {record.attempts}"


def _share(ray: Any) -> dict[str, float]:
    if ray.cluster_resources().get("GPU"):
        return {"num_gpus": 1}
    return {"num_cpus": min(node["Resources"]["CPU"] for node in ray.nodes() if node["Resources"].get("CPU"))}


def _outcome(ray: Any, ready: Any) -> str:
    try:
        return str(ray.get(ready))
    except ray.exceptions.WorkerCrashedError:
        return f"its worker died {1 + DEATHS} times; it will be computed here"


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        raise HarnessError("--executor ray needs Ray: pip install 'personalization-harness[ray]'.") from error
    return ray
