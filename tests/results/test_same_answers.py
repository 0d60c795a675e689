"""Answers pass from one cell to another only where fits stored the same, and all else that was asked is the same."""

import pandas as pd
import pytest

from harness.results.records import CellRecord
from harness.results.store import Store
from harness.specs.run_spec import CellSpec
from tests.specs.test_run_spec import CELL

HARDWARE = {"device": "cpu", "cores": 2}
SAMPLES = pd.DataFrame({"query_id": ["1"], "output": ["5"]})
OF_FITS = {
    "seed": 1,
    "budget": 120.0,
    "supervision": 4,
    "fit_users": 7,
    "fit_data_fingerprint": "of train",
    "marks": (0.5,),
}
OF_ANSWERS = {
    "task": "lamp2",
    "task_version": "2",
    "data_fingerprint": "other data",
    "split": "train",
    "method": "caa",
    "variant": "num_layers=3",
    "config": {"num_layers": 3},
    "method_source": "other code",
    "model": "tiny-t5",
    "model_fingerprint": "other weights",
    "dtype": "bfloat16",
    "quantization": "nf4",
    "users": 11,
    "limit": 5,
    "regime": "unseen",
    "eval_history": "none",
    "history": 9,
    "selection": "recency",
    "keep_leaks": True,
    "embedder": "another",
    "likelihood": True,
    "batch_size": 8,
    "task_source": "other code",
    "engine_source": "other code",
    "embedder_fingerprint": "other weights",
    "config_files": {"pairs.json": "0"},
    "libraries": {"torch": "2"},
}


def record(**changes):
    asked = {name: changes.pop(name) for name in list(changes) if name in CellSpec.model_fields}
    told = {"status": "complete", "fit_hash": "same", "hardware": HARDWARE, **changes}
    return CellRecord(spec=CellSpec(**{**CELL, **asked}), **told)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def test_each_field_of_a_cell_is_known_to_concern_the_fit_alone_or_not():
    assert {*OF_FITS, *OF_ANSWERS} == set(CellSpec.model_fields)


@pytest.mark.parametrize("field", OF_FITS)
def test_answers_pass_to_a_cell_that_differs_in_what_concerns_its_fit_alone(store, field):
    known = record()
    store.write(known, SAMPLES)
    found, samples = store.same_answers(record(**{field: OF_FITS[field]}))
    assert found == known
    pd.testing.assert_frame_equal(samples, SAMPLES)


def test_answers_pass_to_a_cell_that_differs_in_all_that_concerns_its_fit(store):
    store.write(record(), SAMPLES)
    assert store.same_answers(record(**OF_FITS)) is not None


@pytest.mark.parametrize("field", OF_ANSWERS)
def test_no_answers_pass_to_a_cell_that_differs_in_anything_else(store, field):
    store.write(record(), SAMPLES)
    assert store.same_answers(record(seed=1)) is not None
    assert store.same_answers(record(seed=1, **{field: OF_ANSWERS[field]})) is None


@pytest.mark.parametrize("other", [{"fit_hash": "other"}, {"fit_hash": ""}, {"hardware": {"device": "cuda"}}], ids=str)
def test_no_answers_pass_between_other_fits_or_machines(store, other):
    store.write(record(), SAMPLES)
    assert store.same_answers(record(seed=1, **other)) is None


def test_a_cell_is_not_given_its_own_answers(store):
    store.write(record(), SAMPLES)
    assert store.same_answers(record()) is None


def test_answers_of_another_run_are_found_in_the_pool_that_both_share(tmp_path):
    first, second = (Store(tmp_path / name, tmp_path / "pool") for name in ("first", "second"))
    known = record()
    first.write(known, SAMPLES)
    found, samples = second.same_answers(record(seed=1))
    assert found == known
    pd.testing.assert_frame_equal(samples, SAMPLES)
    assert Store(tmp_path / "second").same_answers(record(seed=1)) is None


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_cell_without_answers_gives_none(store, status):
    store.write(record(status=status), None)
    assert store.same_answers(record(seed=1)) is None


@pytest.mark.parametrize("status", ["complete", "budget_exhausted", "overran"])
def test_however_a_fit_ended_its_answers_pass(store, status):
    store.write(record(status=status), SAMPLES)
    assert store.same_answers(record(seed=1)) is not None


@pytest.mark.parametrize("damage", ["samples.parquet", "cell.json"])
def test_a_damaged_cell_gives_none_and_an_intact_one_does_beside_it(store, damage):
    damaged, intact = record(), record(budget=90.0)
    store.write(damaged, SAMPLES)
    (store.cell_dir(damaged.spec) / damage).write_bytes(b"spoilt")
    assert store.same_answers(record(seed=1)) is None
    store.write(intact, SAMPLES)
    found, _ = store.same_answers(record(seed=1))
    assert found == intact
