"""The store: atomic, resumable, and not to be mixed."""

import errno
import os
import threading

import pandas as pd
import pytest

from harness.api import HarnessError
from harness.repeats.finished import NOTE
from harness.results import discarding
from harness.results.fingerprints import path_hash
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.results.writing import replacing, write_text
from harness.specs.run_spec import CellSpec, MethodSpec, RunSpec
from tests.specs.test_run_spec import CELL

RUN = RunSpec(methods=(MethodSpec(name="instruct"),), tasks=("lamp3",), budget=60, model="tiny-llama")
HARDWARE = {"device": "cpu", "cores": 2}
SAMPLES = pd.DataFrame({"query_id": ["1"], "gold": ["5"]})


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


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe3", b"many", "²".encode(), b"9" * 5000])
def test_a_damaged_count_of_attempts_begins_anew(store, damage):
    spec = CellSpec(**CELL)
    store.begin(spec)
    (store.cell_dir(spec) / "attempts").write_bytes(damage)
    assert store.attempts(spec) == 0
    assert store.begin(spec) == 1


def test_a_damaged_fit_is_computed_again_where_fits_are_asked_for(store):
    spec = CellSpec(**CELL)
    fit = store.cell_dir(spec) / "fit"
    fit.mkdir(parents=True)
    (fit / "edits.json").write_text("[1]")
    written = record(fit_hash=path_hash(fit))
    store.write(written, SAMPLES, save_fit=True)
    assert store.finished(spec, fit=True) == written
    assert store.without_fit() == []
    (fit / "edits.json").write_text("[")
    assert store.finished(spec) == written
    assert store.look(spec, fit=True) == (None, "its saved fit is not what was written")
    assert store.without_fit() == ["chameleon on lamp3, seed 0"]
    store.begin(spec)
    assert not fit.exists()
    assert store.look(spec) == (None, "stopped before its record was written")


def test_what_an_earlier_attempt_came_to_is_forgotten_when_the_next_begins(store):
    store.write(record(), SAMPLES)
    folder = store.cell_dir(CellSpec(**CELL))
    (folder / "anytime.json").write_text("{}")
    (folder / "fit").mkdir()
    assert store.begin(CellSpec(**CELL)) == 1
    assert [path.name for path in folder.iterdir()] == ["attempts"]
    store.write(record(status="failed"), None)
    with pytest.raises(HarnessError, match="absent"):
        store.samples(CellSpec(**CELL))


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


def test_other_hardware_is_refused_where_something_was_timed(store):
    store.write(record(status="failed"), None)
    store.open(RUN, {**HARDWARE, "cores": 3})
    store.open(RUN, HARDWARE)
    store.write(record(), SAMPLES)
    with pytest.raises(HarnessError, match="other hardware"):
        store.open(RUN, {**HARDWARE, "cores": 64})


def test_fresh_discards_the_cells(store):
    store.write(record(), None)
    other = RUN.model_copy(update={"budget": 61.0})
    store.open(other, HARDWARE, fresh=True)
    assert store.records() == []
    assert store.read_run().spec == other


def test_fresh_discards_all_that_the_earlier_run_came_to(store):
    Store(store.root).write(record(), SAMPLES)
    kept = [store.root / name for name in ("notes.txt", "wandb/tracked.json")]
    names = ("plots/lamp3-anytime.png", "comparison.json", "comparison.csv", "comparison.md", "users.csv", NOTE)
    for path in (*kept, *(store.root / name for name in names)):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    store.open(RUN, HARDWARE, fresh=True)
    found = [path for path in store.root.rglob("*") if path.is_file()]
    assert sorted(found) == sorted([*kept, store.root / "run.json"])


def test_fresh_keeps_foreign_files_among_the_results_and_names_them(store):
    store.write(record(), SAMPLES)
    kept = [
        store.root / name for name in ("plots/lamp3-mine.png", "cells/map.csv", "cells/lamp3/chameleon/notes/a.txt")
    ]
    for path in (*kept, store.root / "plots/lamp3.png", store.root / "plots/.lamp3-cost.png-77"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("a week of counting")
    with pytest.warns(UserWarning, match="left alone what is no result") as warned:
        store.open(RUN, HARDWARE, fresh=True)
    assert all(str(path) in str(warned[0].message) for path in kept)
    assert {path for path in store.root.rglob("*") if path.is_file()} == {*kept, store.root / "run.json"}


def test_what_cannot_be_discarded_is_named_and_not_reused(store, monkeypatch):
    def refuse(path, ignore_errors=False):
        if ignore_errors:
            return
        raise PermissionError(13, "Permission denied", str(path))

    store.write(record(), SAMPLES)
    monkeypatch.setattr(discarding.shutil, "rmtree", refuse)
    with pytest.raises(HarnessError, match=r"cannot discard all of .*cells.*Permission denied.*another --out"):
        store.open(RUN, HARDWARE, fresh=True)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match=r"no run\.json"):
        Store(tmp_path).open(RUN, HARDWARE, fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{", '{"spec": 1}', "[]", "\0" * 40])
def test_a_damaged_record_is_computed_again_and_named_to_whoever_reads_it(store, text):
    written = record()
    store.write(written, SAMPLES)
    (store.cell_dir(written.spec) / "cell.json").write_text(text)
    assert store.finished(written.spec) is None
    assert store.look(written.spec) == (None, "its record cell.json is damaged")
    with pytest.raises(HarnessError, match=r"cell\.json.*Repeat the command"):
        store.records()


@pytest.mark.parametrize("damage", ["cut", "gone", "another", "folder"])
def test_samples_that_are_not_what_was_written_are_computed_again(store, damage):
    written = record()
    store.write(written, SAMPLES)
    path = store.cell_dir(written.spec) / "samples.parquet"
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "another":
        SAMPLES.assign(gold="1").to_parquet(path)
    elif damage == "cut":
        path.write_bytes(whole[:100])
    assert store.look(written.spec) == (None, "samples.parquet is missing or not what was written")
    assert store.finished(written.spec) is None
    if damage in ("cut", "gone"):
        with pytest.raises(HarnessError, match=r"samples\.parquet.*Repeat the command"):
            store.samples(written.spec)


def test_a_record_of_another_cell_or_without_samples_does_not_count(store):
    written = record()
    store.write(written, SAMPLES)
    other = written.spec.model_copy(update={"seed": 1})
    store.cell_dir(written.spec).rename(store.cell_dir(other))
    assert store.look(other) == (None, "its record cell.json is of another cell")
    store.write(record(), None)
    assert store.finished(written.spec) is None


def test_a_damaged_cell_is_not_taken_from_a_pool(tmp_path):
    first, second = (Store(tmp_path / name, pool=tmp_path / "cells") for name in ("a", "b"))
    for store in (first, second):
        store.open(RUN, HARDWARE)
    written = record(hardware=HARDWARE)
    first.write(written, SAMPLES)
    (path,) = (tmp_path / "cells").rglob("samples.parquet")
    path.write_bytes(b"no parquet")
    assert second.finished(written.spec) is None


def test_a_pool_mends_what_failed_or_was_damaged_in_a_folder(tmp_path):
    first, second = (Store(tmp_path / name, pool=tmp_path / "cells") for name in ("a", "b"))
    for store in (first, second):
        store.open(RUN, HARDWARE)
    second.write(record(status="failed"), None)
    written = record(hardware=HARDWARE)
    first.write(written, SAMPLES)
    assert second.finished(written.spec) == written
    assert Store(tmp_path / "b").records() == [written]


def test_only_the_cells_that_the_run_consists_of_count(store):
    now, before = record(), record(spec=CellSpec(**{**CELL, "method_source": "old"}), started_at="2026")
    for written in (now, before):
        store.write(written, SAMPLES)
    assert len(store.records()) == 2
    store.open(RUN, HARDWARE, cells=[now.spec])
    assert store.records() == [now]
    assert store.earlier(now.spec) == before
    store.open(RUN, HARDWARE, cells=[before.spec])
    assert store.records() == [before]


@pytest.mark.parametrize("trace", ["run.lock", "run.lock.txt", ".run.json-77"])
def test_a_folder_with_traces_of_a_killed_run_only_is_free(tmp_path, trace):
    (tmp_path / trace).write_text("")
    Store(tmp_path).open(RUN, HARDWARE)


def test_fresh_discards_a_damaged_run(store):
    (store.root / "run.json").write_text("{")
    with pytest.raises(HarnessError, match=r"run\.json.*--fresh"):
        store.open(RUN, HARDWARE)
    store.open(RUN, HARDWARE, fresh=True)
    assert store.read_run().spec == RUN


def test_what_went_wrong_is_forgotten_when_a_cell_is_begun_again(store):
    spec = CellSpec(**CELL)
    store.begin(spec)
    (store.cell_dir(spec) / "error.txt").write_text("Traceback")
    (store.cell_dir(spec) / "attempts").write_text("")
    assert store.begin(spec) == 1
    assert not (store.cell_dir(spec) / "error.txt").exists()


def test_of_runs_that_share_a_pool_one_computes_a_cell_and_the_others_wait(tmp_path):
    first, second = (Store(tmp_path / name, pool=tmp_path / "cells") for name in ("a", "b"))
    spec, told, order = CellSpec(**CELL), threading.Event(), []

    def wait():
        with second.reserved(spec, told.set):
            order.append("second")

    with first.reserved(spec, lambda: order.append("waited")):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert told.wait(60)
        order.append("first")
    waiter.join(60)
    assert order == ["first", "second"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("half \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_full_disk_is_said_to_be_that_of_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left") as told, replacing(tmp_path / "record.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert told.value.filename == str(tmp_path / "record.json")


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
    Store(tmp_path / "a", pool=tmp_path / "cells").write(record(hardware={"device": "cuda"}), SAMPLES)
    other = Store(tmp_path / "b", pool=tmp_path / "cells")
    other.open(RUN, HARDWARE)
    with pytest.raises(HarnessError, match="other hardware"):
        other.finished(CellSpec(**CELL))
