"""Workers on Ray stay, are replaced when they or their node die, and a call that cannot be had ends no others."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.api import HarnessError
from harness.executors import ray_pool
from harness.executors.ray_pool import Lost, RayPool, Spent, require_executor


class Toy:
    """A worker that imports nothing heavy. `folder` is where it leaves what outlives it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def pid(self):
        return os.getpid()

    def node(self):
        import ray

        return ray.get_runtime_context().get_node_id()

    def die(self, name, times):
        """Dies so often, then says how often it was begun."""
        attempt = self._begin(name)
        if attempt <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt

    def _begin(self, name):
        begun = self.folder / name
        attempt = len(begun.read_text()) + 1 if begun.exists() else 1
        begun.write_text("x" * attempt)
        return attempt

    def spend(self):
        raise Spent(os.getpid())

    def lose(self, name, times):
        """Can do no more so often, then says how often it was begun."""
        attempt = self._begin(name)
        if attempt <= times:
            raise Spent(HarnessError("no device"))
        return attempt

    def fail(self):
        raise HarnessError("no such model")

    def wait_for(self, left):
        """The node it ran on, which is told by a file of its name; ends once the file `left` is there."""
        while not Path(left).exists():
            (self.folder / self.node()).touch()
            time.sleep(0.02)
        return self.node()


def nodes():
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


class Broken:
    def __init__(self, folder):
        raise OSError("no disk")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each, which this process has joined."""
    ray = pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def pool(cluster, tmp_path):
    told = []
    with RayPool(Toy, (str(tmp_path),), {"cpu"}, told.append) as pool:
        pool.told = told
        yield pool


def test_workers_stay_from_call_to_call_one_for_each_group_of_processors(pool):
    pids = [dict(pool.map("pid", {str(number): () for number in range(6)})) for _ in range(2)]
    assert all(len(found) == 6 for found in pids)
    assert len({pid for found in pids for pid in found.values()}) <= 2
    assert pool.told == ["Workers on Ray: 2, each with 1 CPU"]


def test_a_call_whose_worker_dies_is_begun_again_twice_and_then_lost(pool):
    found = dict(pool.map("die", {"once": ("once", 1), "always": ("always", 9), "never": ("never", 0)}))
    assert found == {"once": 2, "always": Lost("its worker died 3 times", 3), "never": 1}
    assert pool.told[1:] == ["A worker died: its cell is begun again"] * 3


def test_a_worker_that_can_do_no_more_is_replaced_and_its_call_not_repeated(pool):
    pids = dict(pool.map("spend", {str(number): () for number in range(3)}))
    assert len(set(pids.values())) == 3
    assert pool.told[1:] == ["A worker can do no more: another takes its place"] * 3


def test_a_call_for_which_a_worker_can_do_no_more_is_begun_again_by_another_twice_and_then_lost(pool):
    found = dict(pool.map("lose", {"once": ("once", 1), "always": ("always", 9)}))
    lost = found.pop("always")
    assert found == {"once": 2}
    assert (lost.reason, lost.attempts, type(lost.error)) == ("HarnessError: no device", 3, HarnessError)
    assert pool.told[1:] == ["A worker can do no more: its cell is begun again"] * 3


def test_what_a_worker_raises_is_told_and_not_repeated(pool):
    [(key, lost)] = pool.map("fail", {"a": ()})
    assert (key, lost.reason, lost.attempts) == ("a", "HarnessError: no such model", 1)
    assert isinstance(lost.error, HarnessError)


def test_calls_of_a_node_that_is_removed_are_begun_again_on_another(pool, cluster, tmp_path):
    before = nodes()
    node = cluster.add_node(num_cpus=1)

    def remove():
        while len(list(tmp_path.iterdir())) < 3:  # each node has begun a call
            time.sleep(0.02)
        cluster.remove_node(node)
        (tmp_path / "left").touch()

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    found = dict(pool.map("wait_for", {name: (str(tmp_path / "left"),) for name in "abc"}))
    remover.join()
    assert set(found) == {"a", "b", "c"}
    assert set(found.values()) <= before
    assert "A worker died: its cell is begun again" in pool.told


def test_workers_that_cannot_start_end_the_run_with_their_reason(cluster, tmp_path):
    with (
        RayPool(Broken, (str(tmp_path),), {"cpu"}, lambda text: None) as pool,
        pytest.raises(HarnessError, match=r"do not start: .*no disk"),
    ):
        list(pool.map("pid", {"a": ()}))


def test_a_gpu_that_no_node_has_is_refused(cluster, tmp_path):
    with (
        pytest.raises(HarnessError, match="No node of the Ray cluster has a GPU"),
        RayPool(Toy, (str(tmp_path),), {"cuda"}, lambda text: None),
    ):
        pass


class FullNode:
    """In Ray's place, which kills a worker for memory only where its node has none left: one that does so, so often."""

    def __init__(self):
        self.begun, self.killed = Counter(), 0
        names = ("RayError", "RayTaskError", "RayActorError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError")
        self.exceptions = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in names})

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1}}]

    def remote(self, **options):
        return lambda worker: SimpleNamespace(remote=lambda *arguments: Called())

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def get(self, reference):
        method, *arguments = reference
        if method == "__ray_ready__":
            return None
        name, times = arguments
        self.begun[name] += 1
        if self.begun[name] <= times:
            raise self.exceptions.OutOfMemoryError
        return self.begun[name]

    def kill(self, actor):
        self.killed += 1


class Called:
    """An actor whose calls are what they were asked for."""

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *arguments: (method, *arguments))


def test_a_call_whose_node_runs_out_of_memory_is_begun_again_twice_and_then_lost(monkeypatch, tmp_path):
    node, told = FullNode(), []
    monkeypatch.setattr(ray_pool, "_import", lambda: node)
    with RayPool(Toy, (str(tmp_path),), {"cpu"}, told.append) as pool:
        found = dict(pool.map("fit", {"once": ("once", 1), "always": ("always", 9), "never": ("never", 0)}))
    assert found == {"once": 2, "always": Lost("its node ran out of memory 3 times", 3), "never": 1}
    assert told[1:] == ["A worker's node ran out of memory: its cell is begun again"] * 3
    assert node.killed >= 4  # for each death a worker


def test_an_unknown_executor_and_a_missing_ray_are_said(monkeypatch):
    assert require_executor("local") == "local"
    with pytest.raises(HarnessError, match="Unknown executor 'dask'"):
        require_executor("dask")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HarnessError, match=r"needs Ray: pip install 'personalization-harness\[ray\]'"):
        require_executor("ray")
