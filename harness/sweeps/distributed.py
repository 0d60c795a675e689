"""A sweep's cells on Ray: one task per distinct cell, which leaves it in a folder of its own that the head can reach.

What a cell is, its device, dtype and hash, is settled where it is computed. The head takes what the workers left, so a
head without a GPU may send cells to workers with one.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.api import HarnessError
from harness.specs.run_spec import RunSpec
from harness.sweeps.gathering import Computed, distinct_jobs
from harness.sweeps.sweep_spec import Point

DEATHS = 2  # how often a cell is begun again, on a fresh budget, after its worker died


def compute_cells(points: Sequence[Point], out: Path, done: Callable[[int, int, str], None]) -> dict[str, Computed]:
    """Compute what the points need, each cell into OUT/workers/<hash>; OUT must be a folder that all nodes share.

    A task has a node's processors, or a GPU, to itself: a budget in seconds must not measure its neighbours. A worker
    that dies is replaced and the attempt counted. A cell that raises, or whose workers all die, is failed and the
    others go on. `done` is told (cells finished, of how many, which). RAY_ADDRESS names a running cluster; without it
    Ray starts here.
    """
    ray = _import()
    jobs = distinct_jobs(points)
    _init(ray)
    try:
        task = ray.remote(**_share(ray), max_retries=DEATHS)(compute)
        workers = out.resolve() / "workers"
        waiting = {
            task.remote(job.model_dump_json(), str(_folder(workers, job)), torch.get_num_threads()): key
            for key, job in jobs.items()
        }
        computed: dict[str, Computed] = {}
        while waiting:
            [ready], _ = ray.wait(list(waiting))
            key = waiting.pop(ready)
            job = jobs[key]
            computed[key] = _outcome(ray, ready, _folder(workers, job))
            name = f"{job.tasks[0]} {job.methods[0].label} seed {job.seeds[0]}"
            done(len(computed), len(jobs), f"{name}: {computed[key].said}")
        return computed
    finally:
        ray.shutdown()


def _init(ray: Any) -> None:
    """Start or join Ray, and keep what SIGTERM does: Ray would have it end with status 1."""
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_task_oom_retries", str(DEATHS))  # by default Ray repeats these for ever
    ray.init(include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def compute(spec: str, folder: str, threads: int) -> str:
    """What a worker does: one cell, in a folder of its own that survives the worker, shared through OUT/cells."""
    from harness.commands.terminal import quieten_libraries
    from harness.results.store import Store
    from harness.running.experiment import Experiment
    from harness.running.progress import Quiet

    quieten_libraries()
    torch.set_num_threads(threads)  # Ray gives its workers as many as they have processors
    store = Store(Path(folder), Path(folder).parents[1] / "cells")
    [record] = Experiment(RunSpec.model_validate_json(spec), store, Quiet()).run()
    reason = f": {record.reason}" if record.reason else ""
    return f"{record.status}, attempt {record.attempts}{reason}"


def _folder(workers: Path, job: RunSpec) -> Path:
    """Jobs that ask for the same cell in other words have folders of their own and share the cell."""
    return workers / hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:16]


def _share(ray: Any) -> dict[str, float]:
    if ray.cluster_resources().get("GPU"):
        return {"num_gpus": 1}
    return {"num_cpus": min(node["Resources"]["CPU"] for node in ray.nodes() if node["Resources"].get("CPU"))}


def _outcome(ray: Any, ready: Any, folder: Path) -> Computed:
    """What a task came to; whatever Ray raises is this cell's failure only."""
    try:
        return Computed(folder, ray.get(ready))
    except ray.exceptions.RayTaskError as error:
        reason = f"{type(error.cause).__name__}: {error.cause}"
    except ray.exceptions.OutOfMemoryError:
        reason = f"its node ran out of memory {1 + DEATHS} times"
    except ray.exceptions.WorkerCrashedError:
        reason = f"its worker died {1 + DEATHS} times"
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return Computed(None, f"failed: {reason}")


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        raise HarnessError("--executor ray needs Ray: pip install 'personalization-harness[ray]'.") from error
    return ray
