"""A record holds each method against its controls, by the tests of its run."""

import json
from importlib.metadata import EntryPoint

import pytest

from harness.api import HarnessError
from harness.leaderboards.recording import add, read_records, record
from tests.leaderboards.record_files import edit, result

CONTROLLED = {
    "random_direction:subspace=principal": 0.3,
    "constant": 0.1,
    "instruct": 0.3,
    "chameleon": 0.95,
    "chameleon:edit=both": 0.9,
    "dpo": 0.5,
    "shuffled_dpo": 0.45,
}


def pair(folder, labels, metric="accuracy"):
    """The test of two labels, as comparison.json has it."""
    tests = json.loads((folder / "comparison.json").read_text())["comparisons"]
    return next(test for test in tests if {test["a"], test["b"]} == set(labels) and test["metric"] == metric)


def test_a_method_is_recorded_against_its_own_controls_and_those_of_no_method_in_particular(run):
    found = record(run(qualities=CONTROLLED, tasks=("lamp2",)))
    assert {one.label: set(one.scores["f1"].vs_controls) for one in found.results} == {
        "random_direction:subspace=principal": set(),
        "constant": set(),
        "instruct": {"constant"},
        "chameleon": {"random_direction:subspace=principal", "constant"},
        "chameleon:edit=both": {"random_direction:subspace=principal", "constant"},
        "dpo": {"shuffled_dpo", "constant"},
        "shuffled_dpo": set(),
    }


def test_a_difference_from_a_control_is_the_method_less_the_control_whichever_came_first(run):
    folder = run(qualities=CONTROLLED, tasks=("lamp2",))
    found = record(folder)
    values = {one.label: one.scores["accuracy"].value for one in found.results}
    for one in found.results:
        for control, test in one.scores["accuracy"].vs_controls.items():
            told = pair(folder, (one.label, control))
            sign = 1 if told["a"] == one.label else -1
            assert test.difference == pytest.approx(values[one.label] - values[control])
            assert (test.difference, test.effect_size) == (sign * told["difference"], sign * told["effect_size"])
            kept = (test.p, test.p_holm, test.minimum_detectable)
            assert kept == (told["p"], told["p_holm"], told["minimum_detectable"])
    assert pair(folder, ("chameleon", "constant"))["a"] == pair(folder, ("instruct", "constant"))["a"] == "constant"
    assert pair(folder, ("dpo", "shuffled_dpo"))["a"] == "dpo"


def test_of_several_seeds_the_difference_from_a_control_is_the_mean_tested_over_users_and_fits(run):
    folder = run(qualities={"instruct": 0.3, "dpo": 0.8, "shuffled_dpo": 0.2}, tasks=("lamp2",), seeds=(0, 1))
    told = pair(folder, ("dpo", "shuffled_dpo"))
    test = result(record(folder), "lamp2", "dpo").scores["accuracy"].vs_controls["shuffled_dpo"]
    assert told["fits"] == 2
    assert test.p_holm == told["p_holm"] >= told["p_fits"] > test.p
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    seeds = {
        name: [row["metrics"]["accuracy"] for row in rows if row["method"] == name] for name in ("dpo", "shuffled_dpo")
    }
    assert test.difference == pytest.approx((sum(seeds["dpo"]) - sum(seeds["shuffled_dpo"])) / 2)


def test_likelihoods_are_recorded_against_controls_by_the_tests_of_likelihoods(run):
    folder = run(qualities={"shuffled_dpo": 0.4, "instruct": 0.3, "dpo": 0.9}, tasks=("lamp2",))

    def measure(values):
        values["likelihood_higher_is_better"] = {"lamp2": {"gold_nats": True}}
        for row in values["pooled"]:
            row["likelihood"] = {"gold_nats": {"value": -3.0, "interval": None, "vs_instruct": None, "queries": 80}}
        found = {"difference": 0.0, "p": 1.0, "p_holm": 1.0, "minimum_detectable": None}
        values["likelihood_tests"] = [
            {**found, "task": "lamp2", "metric": "gold_nats", "a": "shuffled_dpo", "b": "dpo"},
        ]

    edit(folder / "comparison.json", measure)
    kept = result(record(folder), "lamp2", "dpo")
    test = kept.likelihood["gold_nats"].vs_controls["shuffled_dpo"]
    assert (str(test.difference), test.p_holm, test.effect_size) == ("0.0", 1.0, None)  # and not -0.0
    assert kept.scores["accuracy"].vs_controls["shuffled_dpo"].difference > 0


def test_a_record_from_before_controls_were_kept_is_read_as_one_without_such_tests(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")

    def forget(values):
        for one in values["results"]:
            for score in one["scores"].values():
                del score["vs_controls"]

    edit(path, forget)
    [found] = read_records(path.parent)
    assert not any(score.vs_controls for one in found.results for score in one.scores.values())


def test_a_record_that_tests_against_what_has_no_result_is_refused(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")

    def rename(values):
        tests = values["results"][1]["scores"]["accuracy"]["vs_controls"]
        tests["nobody"] = tests.pop("constant")

    edit(path, rename)
    with pytest.raises(HarnessError, match="chameleon on lamp2 is tested against nobody, which has no result"):
        read_records(path.parent)


def test_a_control_that_cannot_be_imported_is_named(run, monkeypatch):
    folder, broken = run(), EntryPoint("constant", "no_such_package:Constant", "harness.controls")
    monkeypatch.setattr("harness.leaderboards.against_controls.entry_points", lambda group: [broken])
    with pytest.raises(HarnessError, match=r"control 'constant'.*no_such_package:Constant.*cannot be imported"):
        record(folder)
