"""Preference likelihood in comparisons and what shows them: a family of its own that changes nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from harness.analysis.panel import minimum_detectable
from harness.analysis.stats import holm
from harness.gate.baseline import Outcome, Run, Tolerance
from harness.gate.differences import compare as differ
from harness.leaderboards.recording import add, read_records, record
from harness.leaderboards.site import render
from harness.reporting.comparison_report import to_markdown, write
from harness.reporting.conclusions import answer_in_words
from harness.reporting.query_view import inspect_query
from tests.fabricate import compare, row_of, run_spec, samples, store
from tests.fabricate import record as cell_record

LABELS = ("instruct", "chameleon", "constant")
GAINS = {"instruct": 0.0, "chameleon": 0.05, "constant": None}


def measured(label, task="lamp2", seed=0):
    """Samples whose gold answers are a little likelier under chameleon, and that constant has none of."""
    frame = samples(task, 0.5, users=20, per_user=1, seed=LABELS.index(label) + 10 * seed)
    base, noise = np.random.default_rng(7), np.random.default_rng(LABELS.index(label) + 20 + seed)
    gain, n = GAINS[label], len(frame)
    nats = base.normal(-2, 0.5, n) + noise.normal(0, 0.02, n) + (gain or 0)
    right = (base.random(n) < 0.5).astype(float)
    return frame.assign(
        gold_nats=np.nan if gain is None else nats,
        likely_label=None if gain is None else frame["gold"],
        label_accuracy=np.nan if gain is None else right,
    )


def filled(root, likelihood=True, tasks=("lamp2",), seeds=(0,)):
    found = store(root, run_spec(",".join(LABELS), tasks, seeds=seeds))
    for task in tasks:
        for label in LABELS:
            for seed in seeds:
                frame = measured(label, task, seed)
                kept = frame if likelihood else frame.drop(columns=["gold_nats", "likely_label", "label_accuracy"])
                made = cell_record(task, label, frame, seed=seed)
                asked = made.spec.model_copy(update={"likelihood": likelihood})
                found.write(made.model_copy(update={"spec": asked}), kept)
    return found


@pytest.fixture
def comparison(tmp_path):
    return compare(filled(tmp_path / "with"))


def test_the_mean_its_interval_and_its_test_are_those_of_the_column(comparison):
    ours, base = measured("chameleon")["gold_nats"], measured("instruct")["gold_nats"]
    score = row_of(comparison, "chameleon").likelihood["gold_nats"]
    assert score.value == pytest.approx(ours.mean())
    assert score.interval[0] < score.value < score.interval[1]
    assert score.queries == 20
    assert score.vs_instruct.difference == pytest.approx((ours - base).mean())
    expected = permutation_test(
        (ours - base,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    )
    assert score.vs_instruct.p == pytest.approx(expected.pvalue, abs=0.005)


def test_its_tests_share_a_holm_correction_of_their_own(comparison):
    tests = [test for test in comparison.likelihood_tests if test.b == "instruct"]
    assert [test.metric for test in tests] == ["gold_nats", "label_accuracy"]
    assert [test.p_holm for test in tests] == holm([test.p for test in tests])
    assert {test.tests for test in tests} == {2}
    assert tests[0].minimum_detectable == pytest.approx(minimum_detectable(tests[0].spread, 0.025))


def test_official_metrics_tests_and_rankings_are_the_same_without_it(tmp_path, comparison):
    without = compare(filled(tmp_path / "without", likelihood=False))
    assert comparison.comparisons == without.comparisons
    assert comparison.rankings == without.rankings
    bare = [row.model_copy(update={"likelihood": {}}) for row in comparison.pooled]
    assert bare == without.pooled
    assert without.likelihood_tests == []
    assert not any("likelihood" in text for text in (to_markdown(without), *answer_in_words(without)))


def test_what_has_none_is_said_and_takes_part_in_no_test(comparison):
    assert row_of(comparison, "constant").likelihood == {}
    assert not any("constant" in (test.a, test.b) for test in comparison.likelihood_tests)
    assert any(note.startswith("constant on lamp2 has no likelihood") for note in comparison.notes)


@pytest.mark.parametrize("not_finite", [0, 1])
def test_queries_without_likelihood_are_left_out_and_counted(tmp_path, not_finite):
    found = store(tmp_path / "part", run_spec("instruct,chameleon"))
    for label in ("instruct", "chameleon"):
        frame = measured(label)
        frame.loc[frame["query_id"] == "q3", ["gold_nats", "label_accuracy"]] = np.nan if label == "chameleon" else 0.0
        made = cell_record("lamp2", label, frame)
        asked = made.spec.model_copy(update={"likelihood": True})
        counts = {"not_finite": not_finite} if label == "chameleon" else {}
        found.write(made.model_copy(update={"spec": asked, "counts": counts}), frame)
    comparison = compare(found)
    assert row_of(comparison, "chameleon").likelihood["gold_nats"].queries == 19
    assert {test.queries for test in comparison.likelihood_tests} == {19}
    fits = "1 of 20 gold answers to chameleon on lamp2 have no likelihood: they do not fit"
    assert any(fits in note for note in comparison.notes) == (not not_finite)


def test_seeds_are_averaged_per_query_and_tested_one_by_one(tmp_path):
    comparison = compare(filled(tmp_path / "seeds", seeds=(0, 1)))
    frames = [measured("chameleon", seed=seed)["gold_nats"] for seed in (0, 1)]
    assert row_of(comparison, "chameleon").likelihood["gold_nats"].value == pytest.approx(np.mean(frames))
    singles = {row.seed: row.likelihood["gold_nats"] for row in comparison.rows if row.label == "chameleon"}
    assert {seed: score.value for seed, score in singles.items()} == pytest.approx(
        {seed: frame.mean() for seed, frame in enumerate(frames)}
    )
    assert all(score.vs_instruct is not None for score in singles.values())


def test_tables_sentences_and_files_show_it_apart_from_the_scores(tmp_path, comparison):
    text = to_markdown(comparison)
    scores, _, rest = text.partition("preference likelihood")
    assert "gold nats/token" in rest
    assert "gold_nats" not in scores
    assert any("more likely under chameleon (by 0.05" in sentence for sentence in answer_in_words(comparison))
    frame = comparison.to_pandas().set_index("method")
    names = ["gold_nats", "gold_nats_low", "gold_nats_high", "gold_nats_vs_instruct", "gold_nats_p_holm"]
    assert frame.loc["chameleon", names].notna().all()
    assert frame.loc["constant", names].isna().all()


def test_inspect_shows_it(tmp_path):
    answers = {answer.method: answer for answer in inspect_query(filled(tmp_path / "run"), "q1")}
    expected = measured("chameleon").set_index("query_id").loc["q1"]
    assert answers["chameleon"].scores["gold_nats"] == pytest.approx(expected["gold_nats"])
    assert answers["chameleon"].likely_label == expected["likely_label"]
    assert (answers["constant"].likely_label, pd.isna(answers["constant"].scores["gold_nats"])) == ("", True)


def test_the_leaderboard_keeps_it_beside_the_scores(tmp_path, comparison):
    write(comparison, tmp_path / "with")
    made = record(tmp_path / "with")
    result = next(result for result in made.results if result.method == "chameleon")
    assert set(result.scores) == {"accuracy", "f1"}
    assert set(result.likelihood) == {"gold_nats", "label_accuracy"}
    assert result.likelihood["gold_nats"].vs_instruct.minimum_detectable is not None
    add(tmp_path / "with", tmp_path / "records")
    pages = render(read_records(tmp_path / "records"))
    assert f'data-nats="{result.likelihood["gold_nats"].value}"' in pages["index.html"]
    assert "gold_nats" in pages["methods/chameleon.html"]


def test_a_run_of_before_it_was_measured_makes_a_record(tmp_path):
    folder = tmp_path / "old"
    write(compare(filled(folder, likelihood=False)), folder)
    path = folder / "comparison.json"
    values = json.loads(path.read_text())
    for key in ("likelihood_tests", "likelihood_higher_is_better"):
        del values[key]
    for row in values["rows"] + values["pooled"]:
        del row["likelihood"]
    path.write_text(json.dumps(values))
    assert record(folder).results[0].likelihood == {}


def outcome(nats):
    likelihood = {} if nats is None else {"gold_nats": nats}
    return Outcome(run="r", task="lamp2", method="dpo", seed=0, status="complete", likelihood=likelihood)


@pytest.mark.parametrize(("before", "now", "differs"), [(-2.0, -2.0005, False), (-2.0, -2.1, True), (-2.0, None, True)])
def test_the_gate_compares_it_within_the_tolerance_of_numbers(before, now, differs):
    assert bool(differ([outcome(before)], [outcome(now)], Tolerance())) == differs


def test_a_baseline_that_does_not_name_it_repeats_without_it():
    spec = run_spec().model_dump(mode="json")
    assert spec.pop("likelihood")
    assert not Run(name="r", spec=spec).spec.likelihood
    assert Run(name="r", spec=run_spec()).spec.likelihood


def test_of_neutral_texts_the_sample_are_the_texts_however_many_users_they_are_asked_for(tmp_path):
    """One model for everybody that changes three of twenty texts is no more evidence for being asked by a hundred."""
    found = store(tmp_path, run_spec("instruct,chameleon"))
    text = np.arange(100) % 20
    for label in ("instruct", "chameleon"):
        frame = samples("lamp2", 0.5, users=100, per_user=1)
        changed = (text < 3) if label == "chameleon" else np.zeros(100, bool)
        frame = frame.assign(neutral_nats=-3.0 - text / 10 - changed * 0.1, neutral_changed=changed.astype(float))
        found.write(cell_record("lamp2", label, frame), frame)
    comparison = compare(found)
    for measure in ("neutral_nats", "neutral_changed"):
        [test] = [test for test in comparison.likelihood_tests if test.metric == measure]
        assert test.p == pytest.approx(2 * 0.5**3)  # all swaps of the three texts that differ
        assert test.users == 20
    low, high = row_of(comparison, "chameleon").likelihood["neutral_changed"].interval
    assert high - low > 0.2  # 0.15 of twenty texts
