"""What workers left becomes the points' runs, whatever the head's own machine is. No Ray is needed for it."""

import json

import pytest
import torch

from harness.results.store import CellRecord, Store
from harness.running.progress import Quiet
from harness.sweeps import distributed
from harness.sweeps.gathering import Computed, distinct_jobs, gather_points
from harness.sweeps.planned_cells import distinct_cells
from harness.sweeps.sweep_spec import SweepSpec, expand

POINTS = {
    "methods": {"value": "instruct,llm_rec"},
    "tasks": {"value": "lamp3"},
    "users": {"value": 2},
    "llm_rec.max_new_tokens": {"values": [4, 8]},
}


def work(job, folder):
    return distributed.compute(job.model_dump_json(), str(folder), torch.get_num_threads())


@pytest.fixture(scope="module")
def points():
    return expand(SweepSpec(name="lengths", parameters=POINTS))


@pytest.fixture(scope="module")
def worked(points, tmp_path_factory):
    """(folder, what the workers said) of a sweep whose last cell left nothing."""
    out = tmp_path_factory.mktemp("sweep")
    computed = {}
    for key, job in distinct_jobs(points).items():
        if job.overrides == {"llm_rec": {"max_new_tokens": 8}}:
            computed[key] = Computed(None, "failed: its node ran out of memory 3 times")
            continue
        folder = out / "workers" / key
        computed[key] = Computed(
            folder, distributed.compute(job.model_dump_json(), str(folder), torch.get_num_threads())
        )
    return out, computed


def test_there_is_one_job_per_distinct_cell(points):
    jobs = distinct_jobs(points)
    assert len(jobs) == len(distinct_cells(points)) == 3
    assert sorted(job.methods[0].name for job in jobs.values()) == ["instruct", "llm_rec", "llm_rec"]


def test_the_size_of_a_fit_pool_that_nobody_uses_makes_no_other_job():
    sizes = {**POINTS, "llm_rec.max_new_tokens": {"value": 4}, "fit_users": {"values": [5, 6]}}
    assert len(distinct_jobs(expand(SweepSpec(name="sizes", parameters=sizes)))) == 2
    sizes["regime"] = {"value": "unseen"}
    assert len(distinct_jobs(expand(SweepSpec(name="sizes", parameters=sizes)))) == 4


def test_points_are_put_together_and_a_lost_cell_is_a_failed_row(points, worked):
    out, computed = worked
    first, second = gather_points(points, computed, out, Quiet())
    assert [(row.label, row.status) for row in first.comparison.rows] == [
        ("instruct", "complete"),
        ("llm_rec", "complete"),
    ]
    assert [(row.label, row.status) for row in second.comparison.rows] == [
        ("instruct", "complete"),
        ("llm_rec", "failed"),
    ]
    assert second.comparison.rows[1].reason == "its node ran out of memory 3 times"
    assert (second.folder / "comparison.json").exists()
    run = Store(first.folder).read_run()
    assert run.spec == points[0].spec
    assert {json.dumps(record.hardware) for record in Store(first.folder).records()} == {json.dumps(run.hardware)}


def test_a_head_that_would_choose_another_device_or_dtype_takes_the_workers_word(points, worked, tmp_path, monkeypatch):
    _, computed = worked
    monkeypatch.setattr("harness.running.planning.choose_dtype", lambda *_: torch.bfloat16)
    first, _ = gather_points(points, computed, tmp_path, Quiet())
    records = Store(first.folder).records()
    assert [(record.status, record.spec.dtype) for record in records] == [("complete", "float32")] * 2
    assert len(Store(first.folder).samples(records[0].spec)) == 4


def test_cells_of_another_machine_do_not_stand_beside_the_first(points, worked, tmp_path):
    _, computed = worked
    moved = {}
    for key, outcome in computed.items():
        if outcome.folder and (outcome.folder / "cells" / "lamp3" / "llm_rec").exists():
            [path] = outcome.folder.rglob("cell.json")
            target = tmp_path / "elsewhere" / path.relative_to(outcome.folder)
            target.parent.mkdir(parents=True)
            record = CellRecord.model_validate_json(path.read_text())
            other = record.model_copy(update={"hardware": {"device": "cuda:0"}})
            target.write_text(other.model_dump_json())
            outcome = Computed(tmp_path / "elsewhere", "complete")
        moved[key] = outcome
    first, _ = gather_points(points, moved, tmp_path, Quiet())
    assert [row.status for row in first.comparison.rows] == ["complete", "failed"]
    assert "other hardware" in first.comparison.rows[1].reason


def test_a_worker_whose_folder_the_head_cannot_see_is_said_so(points, worked, tmp_path):
    _, computed = worked
    unseen = {key: Computed(tmp_path / "nowhere", outcome.said) for key, outcome in computed.items()}
    first, _ = gather_points(points, unseen, tmp_path, Quiet())
    assert {row.status for row in first.comparison.rows} == {"failed"}
    assert "all nodes share" in first.comparison.rows[0].reason


def test_work_repeated_in_a_workers_folder_is_read_at_once(points, worked, monkeypatch):
    _, computed = worked
    key, job = next((key, job) for key, job in distinct_jobs(points).items() if job.methods[0].name == "instruct")
    monkeypatch.setattr("harness.running.experiment.load", lambda *_, **__: pytest.fail("loaded"))
    assert distributed.compute(job.model_dump_json(), str(computed[key].folder), torch.get_num_threads()).startswith(
        "complete"
    )
