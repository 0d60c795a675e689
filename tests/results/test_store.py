"""The store: atomic, resumable, and not to be mixed."""

import os

import pandas as pd
import pytest

from harness.api import HarnessError
from harness.results.store import CellRecord, Store, replacing, write_text
from harness.specs.run_spec import CellSpec, MethodSpec, RunSpec
from tests.specs.test_run_spec import CELL

RUN = RunSpec(methods=(MethodSpec(name="instruct"),), tasks=("lamp3",), budget=60, model="tiny-llama")
HARDWARE = {"device": "cpu", "cores": 2}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "out")
    store.open(RUN, HARDWARE)
    return store


def record(**changes):
    return CellRecord(**{"spec": CellSpec(**CELL), "status": "complete", **changes})


def test_a_record_and_its_samples_come_back_as_written(store):
    samples = pd.DataFrame({"query_id": ["1"], "gold": ["5"]})
    written = record(metrics={"mae": 0.5}, counts={"identical": 2})
    store.write(written, samples)
    assert store.finished(written.spec) == written
    assert store.records() == [written]
    pd.testing.assert_frame_equal(store.samples(written.spec), samples)


def test_the_cell_folder_is_named_by_task_method_seed_and_hash(store):
    spec = CellSpec(**CELL)
    relative = store.cell_dir(spec).relative_to(store.root)
    assert relative.as_posix() == f"cells/lamp3/chameleon/seed-0-{spec.digest[:8]}"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_failed_and_interrupted_cells_are_computed_again(store, status):
    store.write(record(status=status), None)
    assert store.finished(CellSpec(**CELL)) is None


def test_attempts_are_counted_without_a_record(store):
    assert [store.begin(CellSpec(**CELL)) for _ in range(3)] == [1, 2, 3]
    assert store.finished(CellSpec(**CELL)) is None


def test_samples_without_a_record_do_not_count_as_finished(store):
    spec = CellSpec(**CELL)
    store.begin(spec)
    (store.cell_dir(spec) / "samples.parquet").write_bytes(b"half a file")
    assert store.finished(spec) is None
    assert store.records() == []


def test_the_same_folder_opens_again_for_the_same_run(store):
    Store(store.root).open(RUN, HARDWARE)


def test_a_folder_of_another_specification_is_refused_and_says_what_differs(store):
    with pytest.raises(HarnessError, match=r"differs in budget.*--fresh"):
        store.open(RUN.model_copy(update={"budget": 61.0}), HARDWARE)


def test_other_hardware_is_refused(store):
    with pytest.raises(HarnessError, match="other hardware"):
        store.open(RUN, {**HARDWARE, "cores": 64})


def test_fresh_discards_the_cells(store):
    store.write(record(), None)
    other = RUN.model_copy(update={"budget": 61.0})
    store.open(other, HARDWARE, fresh=True)
    assert store.records() == []
    assert store.read_run().spec == other


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match=r"no run\.json"):
        Store(tmp_path).open(RUN, HARDWARE, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{", '{"spec": 1}', "[]"])
def test_a_damaged_record_is_named(store, text):
    spec = CellSpec(**CELL)
    store.begin(spec)
    (store.cell_dir(spec) / "cell.json").write_text(text)
    with pytest.raises(HarnessError, match=r"cell\.json"):
        store.finished(spec)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("half \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_runs_that_share_a_pool_compute_a_cell_once_and_stay_whole_folders(tmp_path):
    first, second = (Store(tmp_path / name, pool=tmp_path / "cells") for name in ("a", "b"))
    for store in (first, second):
        store.open(RUN, HARDWARE)
    samples = pd.DataFrame({"query_id": ["1"]})
    written = record(hardware=HARDWARE)
    first.write(written, samples)
    assert second.finished(written.spec) == written
    assert Store(tmp_path / "b").records() == [written]
    pd.testing.assert_frame_equal(Store(tmp_path / "b").samples(written.spec), samples)


def test_a_pool_takes_no_failed_cell(tmp_path):
    first, second = (Store(tmp_path / name, pool=tmp_path / "cells") for name in ("a", "b"))
    first.write(record(status="failed"), None)
    second.open(RUN, HARDWARE)
    assert second.finished(CellSpec(**CELL)) is None


def test_cells_of_other_hardware_are_refused_in_a_pool(tmp_path):
    Store(tmp_path / "a", pool=tmp_path / "cells").write(record(hardware={"device": "cuda"}), None)
    other = Store(tmp_path / "b", pool=tmp_path / "cells")
    other.open(RUN, HARDWARE)
    with pytest.raises(HarnessError, match="other hardware"):
        other.finished(CellSpec(**CELL))
