"""Cells on Ray workers: each once, begun again when a worker dies, and none that ends the others."""

import os
import signal
import threading
import time

import pytest

from harness.results.store import Store
from harness.running.progress import Quiet
from harness.sweeps import distributed
from harness.sweeps.distributed import compute_cells
from harness.sweeps.gathering import gather_points
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


def kill_the_first_worker_that_begins(out, killed, over):
    import psutil

    while not over.is_set() and not list(out.glob("workers/*/cells/*/*/*/attempts")):
        time.sleep(0.005)
    for process in psutil.Process().children(recursive=True):
        if process.is_running() and "ray::compute" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            killed.append(process.pid)


@pytest.mark.timeout(1200)  # every worker imports torch
def test_workers_leave_the_cells_that_the_points_need_even_if_one_dies(tmp_path):
    pytest.importorskip("ray")
    points = expand(SweepSpec(name="lengths", parameters=POINTS))
    told, killed, over = [], [], threading.Event()
    killer = threading.Thread(target=kill_the_first_worker_that_begins, args=(tmp_path, killed, over))
    killer.start()
    try:
        computed = compute_cells(points, tmp_path, lambda done, total, text: told.append((done, total, text)))
    finally:
        over.set()
        killer.join()
    assert killed
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    results = gather_points(points, computed, tmp_path, Quiet())
    records = [record for result in results for record in Store(result.folder).records()]
    assert {record.status for record in records} == {"complete"}
    assert max(record.attempts for record in records) == 2
    listener = Counting()
    run_points(points, tmp_path, listener)
    assert listener.computed == []


def test_a_cell_that_cannot_be_computed_ends_no_sweep(tmp_path):
    pytest.importorskip("ray")
    parameters = {**POINTS, "llm_rec.max_new_tokens": {"value": 4}, "model": {"values": ["tiny-llama", "no/such"]}}
    points = expand(SweepSpec(name="models", parameters=parameters))
    told = []
    computed = compute_cells(points, tmp_path, lambda done, total, text: told.append(text))
    assert len(told) == 4
    assert len([text for text in told if "failed: HarnessError" in text and "no/such" in text]) == 2
    good, bad = gather_points(points, computed, tmp_path, Quiet())
    assert {row.status for row in good.comparison.rows} == {"complete"}
    assert {row.status for row in bad.comparison.rows} == {"failed"}


def test_a_cell_whose_workers_all_die_fails_alone(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(distributed, "compute", die_on_llm_rec)
    points = expand(SweepSpec(name="lengths", parameters=POINTS))[:1]
    computed = compute_cells(points, tmp_path, lambda *_: None)
    [result] = gather_points(points, computed, tmp_path, Quiet())
    rows = {row.method: row for row in result.comparison.rows}
    assert rows["instruct"].status == "complete"
    assert (rows["llm_rec"].status, rows["llm_rec"].reason) == ("failed", "its worker died 3 times")


COMPUTE = distributed.compute


def die_on_llm_rec(spec, folder, threads):
    if "llm_rec" in spec:
        os.kill(os.getpid(), signal.SIGKILL)
    return COMPUTE(spec, folder, threads)
