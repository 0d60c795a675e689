"""Fits that came out the same are answered once, whatever budget or seed each had."""

import json

import pytest

from harness import compare
from harness.results.store import Store
from harness.running.progress import Quiet
from tests.running.test_cell import Plain, Probe, compute, source

__all__ = ["compute", "source"]  # fixtures

SETTINGS = {"methods": "instruct,llm_rec", "tasks": "lamp3", "users": 2, "budget": 60.0}


class Answers(Quiet):
    def __init__(self):
        self.evaluated = []

    def evaluating(self, cell, queries):
        self.evaluated.append((cell.method, cell.seed))


def _samples(out, seed):
    store = Store(out)
    [spec] = [record.spec for record in store.records() if (record.spec.method, record.spec.seed) == ("instruct", seed)]
    return store.samples(spec)


def test_a_method_that_fits_nothing_answers_once_for_all_seeds_with_the_scores_it_has_alone(tmp_path):
    listener = Answers()
    compare(**SETTINGS, seeds=(0, 1), out=tmp_path / "both", listener=listener)
    assert listener.evaluated == [("instruct", 0), ("llm_rec", 0)]  # notes on two users take no draw either
    first, second = (record for record in Store(tmp_path / "both").records() if record.spec.method == "instruct")
    assert (first.answers_of, second.answers_of) == ("", f"lamp3/instruct/seed-0-{first.spec.digest[:8]}")

    compare(**SETTINGS, seeds=(1,), out=tmp_path / "alone")
    [alone] = [record for record in Store(tmp_path / "alone").records() if record.spec.method == "instruct"]
    told = {"metrics", "likelihood", "queries", "users_served", "parse_failures", "tokens_in", "tokens_out"}
    assert second.model_dump(include=told) == alone.model_dump(include=told)
    assert _samples(tmp_path / "both", 1).equals(_samples(tmp_path / "alone", 1))


class Learner(Probe):
    """Saves what it is told; counts how often it is loaded."""

    def __init__(self, learned):
        super().__init__(lambda context: Plain(context.task, learned))
        self.loaded = 0

    def load(self, directory, task):
        self.loaded += 1
        return Plain(task, json.loads((directory / "answer.json").read_text()))


def test_fits_of_two_budgets_share_answers_only_if_they_saved_the_same(compute):
    first, same, other = Learner("a"), Learner("a"), Learner("b")
    compute(first, budget=1.0)
    compute(same, budget=2.0)
    record, samples, _ = compute(other, budget=3.0)
    assert (first.loaded, same.loaded, other.loaded) == (1, 0, 1)
    assert (record.answers_of, set(samples["output"])) == ("", {"b"})


@pytest.mark.parametrize("damage", ["samples.parquet", "cell.json"])
def test_answers_that_are_not_what_was_written_are_made_again(compute, damage):
    _, _, folder = compute(Learner("a"), budget=1.0)
    (folder / damage).write_bytes(b"spoilt")
    again = Learner("a")
    record, samples, _ = compute(again, budget=2.0)
    assert (again.loaded, record.answers_of, set(samples["output"])) == (1, "", {"a"})
