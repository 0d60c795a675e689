"""Likelihoods of neutral texts in a comparison: shown with those of gold answers, tested in families apart."""

import numpy as np
import pytest

from harness.reporting.comparison_tables import tables
from harness.reporting.conclusions import answer_in_words
from tests.fabricate import compare, record, row_of, run_spec, samples, store


def frame(shift, gold=True, neutral=True):
    made = samples("lamp2", 0.5)
    noise = np.random.default_rng(0).normal(size=len(made))
    columns = {"gold_nats": noise + shift, "neutral_nats": noise - 0.5 * shift}
    shown = [name for name, kept in zip(columns, (gold, neutral), strict=True) if kept]
    return made.assign(**{name: columns[name] for name in shown})


def compared(root, **kept):
    run = store(root, run_spec("instruct,dpo"))
    for label, shift in (("instruct", 0.0), ("dpo", 0.2)):
        made = frame(shift, **kept)
        run.write(record("lamp2", label, made), made)
    return compare(run)


def test_a_gain_and_what_it_costs_stand_in_one_row(tmp_path):
    row = row_of(compared(tmp_path), "dpo")
    assert row.likelihood["gold_nats"].vs_instruct.difference == pytest.approx(0.2)
    assert row.likelihood["neutral_nats"].vs_instruct.difference == pytest.approx(-0.1)


def test_tests_of_gold_answers_are_the_same_without_neutral_texts(tmp_path):
    both, gold = (compared(tmp_path / name, neutral=found) for name, found in (("both", True), ("gold", False)))
    tests = [test for test in both.likelihood_tests if test.metric == "gold_nats"]
    assert tests == gold.likelihood_tests
    assert {test.tests for test in both.likelihood_tests} == {1}


def test_neutral_texts_are_shown_where_no_gold_answer_fits(tmp_path):
    comparison = compared(tmp_path, gold=False)
    assert set(row_of(comparison, "dpo").likelihood) == {"neutral_nats"}
    assert comparison.likelihood_higher_is_better == {"lamp2": {"neutral_nats": True}}


def test_the_answer_and_the_row_of_a_score_say_what_it_broke(tmp_path):
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, broken in (("instruct", 0.0), ("dpo", 1.0)):
        made = samples("lamp2", 0.2 + 0.7 * broken)
        made = made.assign(gold_nats=-1.0, neutral_nats=-2 - broken / 4, neutral_changed=broken)
        run.write(record("lamp2", label, made), made)
    comparison = compare(run)
    assert (
        "Texts that concern no preference are less likely under dpo (by 0.25). "
        "Questions about these are answered otherwise under dpo (100%)."
    ) in " ".join(answer_in_words(comparison))
    scores = tables(comparison, "lamp2")[0]
    place = scores.columns.index("side effects")
    assert [row[place] for row in scores.rows] == ["–", "-0.250 nats,\n100% changed"]


def test_nothing_is_said_of_side_effects_that_were_not_measured(tmp_path):
    comparison = compared(tmp_path, neutral=False)
    assert "no preference" not in " ".join(answer_in_words(comparison))
    assert "side effects" not in tables(comparison, "lamp2")[0].columns
