"""Cells on Ray workers: the same cells as computed here, each once, and begun again when a worker dies."""

import signal
import threading
import time

import pytest

from harness.results.store import Store
from harness.running.progress import Quiet
from harness.sweeps.distributed import compute_cells, distinct_jobs
from harness.sweeps.planned_cells import distinct_cells
from harness.sweeps.points import run_points
from harness.sweeps.sweep_spec import SweepSpec, expand

POINTS = {
    "methods": {"value": "instruct,llm_rec"},
    "tasks": {"value": "lamp3"},
    "users": {"value": 2},
    "llm_rec.max_new_tokens": {"values": [4, 8]},
}


class Counting(Quiet):
    def __init__(self):
        self.computed = []

    def finished(self, record, reused):
        if not reused:
            self.computed.append(record.spec.label)


def test_there_is_one_job_per_distinct_cell():
    points = expand(SweepSpec(name="lengths", parameters=POINTS))
    jobs = distinct_jobs(points)
    assert len(jobs) == len(distinct_cells(points)) == 3
    assert sorted(job.methods[0].name for job in jobs.values()) == ["instruct", "llm_rec", "llm_rec"]


def kill_the_first_worker_that_begins(out, killed):
    import psutil

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(out.glob("workers/*/cells/*/*/*/attempts")):
        time.sleep(0.005)
    for process in psutil.Process().children(recursive=True):
        if process.is_running() and "ray::compute" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            killed.append(process.pid)


def test_workers_leave_the_cells_that_the_points_need_even_if_one_dies(tmp_path):
    pytest.importorskip("ray")
    points = expand(SweepSpec(name="lengths", parameters=POINTS))
    told, killed = [], []
    killer = threading.Thread(target=kill_the_first_worker_that_begins, args=(tmp_path, killed))
    killer.start()
    compute_cells(points, tmp_path, lambda done, total, text: told.append((done, total, text)))
    killer.join()
    assert killed
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    listener = Counting()
    results = run_points(points, tmp_path, listener)
    assert listener.computed == []
    records = [record for result in results for record in Store(result.folder).records()]
    assert {record.status for record in records} == {"complete"}
    assert max(record.attempts for record in records) == 2
