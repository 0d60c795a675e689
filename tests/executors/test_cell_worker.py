"""What workers do, in this process: the head's side is as with Ray, but calls are made here, one after another."""

import errno
import itertools
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from harness import compare
from harness.api import HarnessError
from harness.commands.app import app
from harness.executors import cell_worker, distributed
from harness.executors.ray_pool import Lost, Spent
from harness.reporting.comparison_report import build
from harness.results.locking import alone
from harness.results.store import Store
from harness.running.progress import Quiet
from harness.specs.resolve import resolve
from harness.sweeps.points import run_points
from harness.sweeps.sweep_spec import SweepSpec, expand

SETTINGS = {"methods": "instruct,llm_rec", "tasks": "lamp3", "users": 2, "seeds": (0,)}
SPEC = resolve("instruct,llm_rec", "lamp3", budget=60.0, users=2, seeds=(0,))
POINTS = {
    "methods": {"value": "instruct,llm_rec"},
    "tasks": {"value": "lamp3"},
    "users": {"value": 2},
    "llm_rec.max_new_tokens": {"values": [4, 8]},
}


class Here:
    """One worker in this process, in the place of Ray's."""

    running = ()

    def __init__(self, worker, arguments, devices, tell):
        self.worker = worker(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stop(self):
        pass

    def map(self, method, calls):
        for key, arguments in calls.items():
            try:
                yield key, getattr(self.worker, method)(*arguments)
            except Exception as error:
                yield key, Lost(f"{type(error).__name__}: {error}", 1, error)


class Recorder(Quiet):
    def __init__(self):
        self.planned_cells, self.computed, self.reused, self.why = [], [], [], {}

    def planned(self, cells):
        self.planned_cells += [cell.label for cell in cells]

    def recomputing(self, cell, why):
        self.why[cell.label] = why

    def finished(self, record, reused):
        (self.reused if reused else self.computed).append(record.spec.label)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Workers in this process; what they do to a process of their own is undone. Counts the models that are loaded."""
    handler, threads, loaded = signal.getsignal(signal.SIGTERM), torch.get_num_threads(), []

    def load(*arguments):
        loaded.append(arguments)
        return original(*arguments)

    original = cell_worker.load
    monkeypatch.chdir(Path.cwd())  # where its undoing leads back to
    monkeypatch.setattr(cell_worker, "load", load)
    monkeypatch.setattr(distributed, "RayPool", Here)
    monkeypatch.setattr("harness.library.require_executor", lambda name: name)
    yield loaded
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "out"
    compare(**SETTINGS, budget=60.0, out=out)
    return out


def same_answers(ours, theirs):
    records = theirs.records()
    assert [record.spec for record in ours.records()] == [record.spec for record in records]
    for record in records:
        pd.testing.assert_frame_equal(ours.samples(record.spec), theirs.samples(record.spec))


def test_workers_leave_what_the_local_executor_leaves_and_load_the_model_once(tmp_path, local, here):
    out, listener = shutil.copytree(local, tmp_path / "out"), Recorder()
    comparison = compare(**SETTINGS, budget=60.0, out=out, executor="ray", fresh=True, listener=listener)
    assert {row.status for row in comparison.rows} == {"complete"}
    same_answers(Store(out), Store(local))
    assert Store(out).read_run() == Store(local).read_run()
    files = [
        sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and not path.name.startswith("run.lock")
        )
        for root in (out, local)
    ]
    assert files[0] == files[1]
    assert listener.planned_cells == listener.computed == ["instruct", "llm_rec"]
    assert len(here) == 1


def test_each_executor_goes_on_where_the_other_stopped(tmp_path, local):
    out, listener = shutil.copytree(local, tmp_path / "out"), Recorder()
    [damaged] = (out / "cells" / "lamp3" / "llm_rec").glob("*/samples.parquet")
    damaged.write_bytes(b"PAR1")
    compare(**SETTINGS, budget=60.0, out=out, executor="ray", listener=listener)
    assert (listener.reused, listener.computed) == (["instruct"], ["llm_rec"])
    assert "samples.parquet is missing or not" in listener.why["llm_rec"]
    again = Recorder()
    compare(**SETTINGS, budget=60.0, out=out, listener=again)
    assert (again.reused, again.computed) == (["instruct", "llm_rec"], [])
    with pytest.raises(HarnessError, match="another specification"):
        compare(**SETTINGS, budget=61.0, out=out, executor="ray")


def test_points_share_cells_and_the_loaded_model_and_are_taken_over_by_a_local_sweep(tmp_path, here):
    points = expand(SweepSpec(name="lengths", parameters=POINTS))
    listener = Recorder()
    results = sweep(points, tmp_path, listener)
    assert sorted(listener.computed) == ["instruct", "llm_rec", "llm_rec"]
    assert len(here) == 1
    for result in results:
        assert {record.status for record in Store(result.folder).records()} == {"complete"}
        assert (result.folder / "comparison.json").exists()
    again = Recorder()
    run_points(points, tmp_path, again)
    assert again.computed == []


def test_a_cell_that_harness_run_computes_meanwhile_is_waited_for_and_taken_over(tmp_path, monkeypatch):
    points = expand(SweepSpec(name="lengths", parameters=POINTS))[:1]
    agent, out, held = tmp_path / "agent", tmp_path / "out", ExitStack()
    [result] = run_points(points, agent, Quiet())
    theirs = {record.spec.method: record for record in Store(result.folder).records()}
    held.enter_context(Store(out / "points" / "agent", out / "cells").reserved(theirs["llm_rec"].spec, pytest.fail))

    class Waiting(Quiet):
        def stage(self, text):
            if text.startswith("Waiting for another run"):
                shutil.copytree(agent / "cells", out / "cells", dirs_exist_ok=True, ignore=only_llm_rec)
                held.close()

    def only_llm_rec(folder, names):
        return [name for name in names if name == "instruct" or name.endswith(".lock")]

    monkeypatch.setattr(cell_worker, "Quiet", Waiting)
    [result] = sweep(points, out)
    ours = {record.spec.method: record for record in Store(result.folder).records()}
    assert ours["llm_rec"] == theirs["llm_rec"]
    assert ours["instruct"] != theirs["instruct"]


def sweep(points, out, listener=None):
    with alone(out):
        return run_points(points, out, listener or Quiet(), executor="ray")


def test_a_model_that_is_not_there_fails_its_point_of_a_sweep_but_ends_a_comparison(tmp_path):
    parameters = {**POINTS, "llm_rec.max_new_tokens": {"value": 4}, "model": {"values": ["tiny-llama", "no/such"]}}
    good, bad = sweep(expand(SweepSpec(name="models", parameters=parameters)), tmp_path / "sweep")
    assert {row.status for row in good.comparison.rows} == {"complete"}
    assert {row.status for row in bad.comparison.rows} == {"failed"}
    assert all("no/such" in row.reason for row in bad.comparison.rows)
    with pytest.raises(HarnessError, match="no/such"):
        compare(**SETTINGS, model="no/such", out=tmp_path / "out", executor="ray")


def test_a_cell_that_is_asked_for_otherwise_is_new_and_one_whose_data_changed_is_computed_again(tmp_path, monkeypatch):
    settings = {"methods": {"value": "instruct"}, "tasks": {"value": "lamp3"}, "users": {"value": 1}}
    points = expand(SweepSpec(name="budgets", parameters={**settings, "budget": {"values": ["50s", "60s"]}}))
    first, second, third = Recorder(), Recorder(), Recorder()
    sweep(points[:1], tmp_path, first)
    sweep(points, tmp_path, second)
    assert (first.why, second.why, second.computed) == ({}, {}, ["instruct"])
    monkeypatch.setattr("harness.running.planning.data_fingerprint", lambda data: "another")
    sweep(points[:1], tmp_path, third)
    assert third.why == {"instruct": "data"}


def test_what_is_finished_of_a_sweep_can_be_rebuilt_while_the_rest_is_computed(tmp_path):
    class Interrupting(Recorder):
        def finished(self, record, reused):
            raise KeyboardInterrupt

    points = expand(SweepSpec(name="lengths", parameters=POINTS))
    for _ in range(2):  # of cells that were computed, and of cells that were there
        with pytest.raises(KeyboardInterrupt):
            sweep(points, tmp_path, Interrupting())
        for point in points:
            rows = build(Store(tmp_path / "points" / point.slug)).rows
            assert [(row.method, row.status) for row in rows] == [("instruct", "complete")]


def test_a_node_unlike_the_others_ends_a_sweep_instead_of_failing_all_its_cells(tmp_path, monkeypatch):
    looks = itertools.count()
    monkeypatch.setattr("harness.running.experiment.hardware", lambda device: {"device": device, "look": next(looks)})
    with pytest.raises(HarnessError, match="nodes of the cluster differ"):
        sweep(expand(SweepSpec(name="lengths", parameters=POINTS)), tmp_path)
    assert not (tmp_path / "cells").exists()


def test_a_full_disk_of_a_node_ends_a_sweep_instead_of_failing_all_its_cells(tmp_path, monkeypatch):
    def fail(self, context):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.methods.instruct.Instruct.fit", fail)
    with pytest.raises(HarnessError, match="the disk is full"):
        sweep(expand(SweepSpec(name="lengths", parameters=POINTS)), tmp_path)
    assert not list(tmp_path.rglob("cell.json"))


def worker(out):
    return cell_worker.CellWorker(str(out), str(out), torch.get_num_threads(), save_fits=False, shared=False)


def test_a_folder_that_a_worker_does_not_see_is_said_before_anything_is_computed(tmp_path):
    with pytest.raises(HarnessError, match="all nodes share"):
        worker(tmp_path).plan(SPEC.model_dump_json())


def test_a_worker_of_another_machine_or_with_other_code_computes_nothing(tmp_path):
    with alone(tmp_path):
        first = worker(tmp_path)
        planned = cell_worker.RemotePlan.model_validate_json(first.plan(SPEC.model_dump_json()))
        [digest, _] = [cell.spec.digest for cell in planned.cells]
        with pytest.raises(HarnessError, match="nodes of the cluster differ"):
            first.compute(SPEC.model_dump_json(), digest, {**planned.machine, "cores": 10**6})
        with pytest.raises(HarnessError, match="different code"):
            first.compute(SPEC.model_dump_json(), "0" * 64, planned.machine)
    assert not (tmp_path / "cells").exists()


def test_a_worker_that_lost_its_accelerator_leaves_the_cells_record_and_asks_to_be_replaced(tmp_path, monkeypatch):
    def fail(self, context):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("harness.methods.instruct.Instruct.fit", fail)
    with alone(tmp_path):
        first = worker(tmp_path)
        plan = cell_worker.RemotePlan.model_validate_json(first.plan(SPEC.model_dump_json()))
        with pytest.raises(Spent) as raised:
            first.compute(SPEC.model_dump_json(), plan.cells[0].spec.digest, plan.machine)
    computed = cell_worker.Computed.model_validate_json(raised.value.result)
    assert (computed.record.status, computed.reused) == ("failed", False)
    assert computed.record.reason == "AcceleratorError: CUDA error: device-side assert triggered"
    assert [record.status for record in Store(tmp_path).records()] == ["failed"]


def test_a_worker_that_lost_its_accelerator_before_a_cell_asks_to_be_replaced_and_leaves_no_record(
    tmp_path, monkeypatch
):
    def fail(*_):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(cell_worker, "load", fail)
    with alone(tmp_path):
        first = worker(tmp_path)
        plan = cell_worker.RemotePlan.model_validate_json(first.plan(SPEC.model_dump_json()))
        with pytest.raises(Spent) as raised:
            first.compute(SPEC.model_dump_json(), plan.cells[0].spec.digest, plan.machine)
    assert isinstance(raised.value.result, HarnessError)
    assert "device-side assert triggered" in str(raised.value.result)
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize("command", [("compare",), ("sweep", "sweep.yaml")], ids=lambda command: command[0])
def test_commands_refuse_an_unknown_executor_and_ray_where_it_is_not_installed(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("parameters: {methods: {value: instruct}, tasks: {value: lamp3}}")
    said = CliRunner().invoke(app, [*command, "--executor", "dask", "--out", "out"])
    assert "Give --executor local or ray" in str(said.exception)
    monkeypatch.setitem(sys.modules, "ray", None)
    said = CliRunner().invoke(app, [*command, "--executor", "ray", "--out", "out"])
    assert "personalization-harness[ray]" in str(said.exception)
    assert not (tmp_path / "out").exists()
