"""The words of the users' own in a comparison: tested in a family of their own, told with what is copied."""

import numpy as np
import pytest

from harness.reporting.comparison_report import legend, to_markdown
from harness.reporting.comparison_tables import tables
from harness.reporting.conclusions import answer_in_words
from tests.fabricate import compare, record, row_of, run_spec, samples, store

FOUND = {"instruct": (0.1, 0.5), "dpo": (0.3, 0.25)}  # own words, copied


@pytest.fixture
def comparison(tmp_path):
    return compared(tmp_path, FOUND)


def compared(root, found):
    run = store(root, run_spec("instruct,dpo", ("lamp2",)))
    for place, label in enumerate(("instruct", "dpo")):
        frame = samples("lamp2", 0.5)
        noise = np.random.default_rng(place).normal(0, 0.01, len(frame))
        if label in found:
            own, copied = found[label]
            frame = frame.assign(own_words=own + noise, copied=copied + noise, gold_nats=noise - 2)
        run.write(record("lamp2", label, frame), frame)
    return compare(run)


def test_each_has_its_mean_and_a_test_against_instruct_in_a_family_of_its_own(comparison):
    measured = row_of(comparison, "dpo", "lamp2").likelihood
    assert measured["own_words"].value == pytest.approx(0.3, abs=0.01)
    assert measured["copied"].vs_instruct.difference == pytest.approx(-0.25, abs=0.01)
    assert {t.metric: t.tests for t in comparison.likelihood_tests} == {"gold_nats": 1, "own_words": 2, "copied": 2}


def test_the_answer_tells_who_finds_more_of_them_and_what_the_best_takes_from_the_question(comparison):
    said = " ".join(answer_in_words(comparison))
    assert "the users' own words, which the question does not have, are more frequent under dpo (by 0.2)" in said
    assert "of the words stand in the question" in said


def test_they_have_a_table_beside_that_of_likelihoods_and_the_legend_explains_it(comparison):
    titles = [table.title for table in tables(comparison, "lamp2")]
    assert titles[1:3] == ["lamp2: preference likelihood", "lamp2: the users' own words"]
    [words] = [table for table in tables(comparison, "lamp2") if table.title.endswith("own words")]
    assert words.columns == ["method", "own words ↑", "vs instruct", "copied ↓", "vs instruct", "queries"]
    assert "Copied: the share" in legend(comparison)
    assert "own words ↑" in to_markdown(comparison)


def test_without_them_nothing_is_said_of_them(tmp_path):
    comparison = compared(tmp_path, {})
    assert "own words" not in " ".join([*answer_in_words(comparison), legend(comparison), to_markdown(comparison)])
