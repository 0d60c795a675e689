"""Likelihoods of neutral texts in a comparison: shown with those of gold answers, tested in families apart."""

import numpy as np
import pytest

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
