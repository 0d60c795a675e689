"""A comparison on two real Ray nodes: interrupted, gone on with, and one node taken away in the middle of a cell."""

import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from harness import compare
from harness.executors import distributed
from harness.executors.cell_worker import CellWorker
from harness.results.store import Store
from harness.running.cell import Cell
from harness.running.progress import Quiet

SETTINGS = {"methods": "instruct,llm_rec", "tasks": "lamp3", "budget": 60.0, "users": 2, "seeds": (0, 1)}
OWN = {  # what is each run's own: times, and which of two equal cells was answered first
    "answers_of",
    "started_at",
    "fit_seconds",
    "eval_seconds",
    "likelihood_seconds",
    "diagnosis_seconds",
    "phases",
    "peak_memory_bytes",
    "attempts",
}


class HeldWorker(CellWorker):
    """On the node named in `doomed`, every fit begins and never ends; elsewhere fits wait until one has begun there."""

    def __init__(self, out, *arguments):
        super().__init__(out, *arguments)
        import ray

        fit, folder = Cell._fit, Path(out).parent
        held = ray.get_runtime_context().get_node_id() == (folder / "doomed").read_text()

        def wait(self, *arguments):
            if held:
                (folder / "fitting").touch()
            while held or not (folder / "fitting").exists():
                time.sleep(0.02)
            return fit(self, *arguments)

        Cell._fit = wait


class Interrupting(Quiet):
    def finished(self, record, reused):
        raise KeyboardInterrupt


class Telling(Quiet):
    def __init__(self):
        self.told, self.computed = [], 0

    def stage(self, text):
        self.told.append(text)

    def finished(self, record, reused):
        self.computed += not reused


@pytest.fixture
def nodes(tmp_path):
    """The cluster and its second node, whose name is in `doomed`."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        [first] = ray.nodes()
        second = cluster.add_node(num_cpus=1)
        [doomed] = {node["NodeID"] for node in ray.nodes()} - {first["NodeID"]}
        (tmp_path / "doomed").write_text(doomed)
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.timeout(900)  # four workers import torch
def test_a_comparison_that_is_interrupted_and_loses_a_node_comes_to_what_a_local_one_comes_to(
    tmp_path, nodes, monkeypatch
):
    monkeypatch.setattr(distributed, "CellWorker", HeldWorker)
    cluster, node = nodes
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(**SETTINGS, out=out, executor="ray", listener=Interrupting())
    left = sorted((record.status, record.attempts) for record in Store(out).records())
    assert left == [("complete", 1), ("interrupted", 1)]
    (tmp_path / "fitting").unlink()

    def remove():
        while not (tmp_path / "fitting").exists():
            time.sleep(0.02)
        cluster.remove_node(node)

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    listener = Telling()
    compare(**SETTINGS, out=out, executor="ray", listener=listener)
    remover.join()
    assert listener.computed == 3
    assert "A worker died: its cell is begun again" in listener.told
    theirs, ours = Store(tmp_path / "local"), Store(out)
    compare(**SETTINGS, out=theirs.root)
    for record, other in zip(ours.records(), theirs.records(), strict=True):
        assert record.model_dump(exclude=OWN | {"files"}) == other.model_dump(exclude=OWN | {"files"})
        pd.testing.assert_frame_equal(ours.samples(record.spec), theirs.samples(other.spec))
    attempts = sorted(record.attempts for record in ours.records())
    assert attempts[:2] == [1, 1]
    assert sum(attempts) == 4 + 2  # one attempt was interrupted, one lost with its node
