"""What of an answer is the question's, and what the user's own."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import compare
from harness.results.store import Store
from harness.running.own_words import own_words

QUESTION, GOLD = "The movie was really good", "omg that movie was SO good, so good!!"
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), max_size=8).map(" ".join)


def naive(question, answer, gold):
    """F1 over a list of the words that are left, matched one by one."""
    said, meant = ([w for w in text.split() if w not in question.split()] for text in (answer, gold))
    left, found = list(meant), 0
    for word in said:
        if word in left:
            left.remove(word)
            found += 1
    total = len(answer.split())
    return (
        2 * found / (len(said) + len(meant)) if meant else math.nan,
        1 - len(said) / total if total else 0.0,
    )


@given(WORDS, WORDS, WORDS)
def test_both_are_those_of_words_matched_one_by_one(question, answer, gold):
    found = own_words(question, answer, gold)
    assert list(found.values()) == pytest.approx(naive(question, answer, gold), nan_ok=True)


def test_who_repeats_the_question_has_copied_all_and_found_nothing():
    assert own_words(QUESTION, QUESTION.upper() + "!", GOLD) == {"own_words": 0.0, "copied": 1.0}


def test_who_writes_what_the_user_wrote_has_found_all():
    assert own_words(QUESTION, GOLD, GOLD) == {"own_words": 1.0, "copied": pytest.approx(4 / 8)}


def test_an_answer_without_words_has_and_copies_nothing_and_a_gold_without_own_words_says_nothing():
    assert own_words(QUESTION, "", GOLD) == {"own_words": 0.0, "copied": 0.0}
    assert math.isnan(own_words(QUESTION, "so good", "good movie")["own_words"])


def test_free_text_has_both_in_its_samples_closed_answers_neither_and_likelihoods_are_not_needed(tmp_path):
    run = compare(
        methods="instruct,constant", tasks="lamp3,lamp7", users=3, budget=60.0, likelihood=False, out=tmp_path
    )
    columns = {}
    for record in Store(tmp_path).records():
        samples = Store(tmp_path).samples(record.spec)
        columns[record.spec.task] = list(samples.columns)
        if (record.spec.task, record.spec.method) == ("lamp7", "constant"):
            assert set(samples["copied"]) == {1.0}
            assert set(samples["own_words"].dropna()) == {0.0}
    assert {"own_words", "copied"} <= set(columns["lamp7"])
    assert not {"own_words", "copied"} & set(columns["lamp3"])
    assert run.likelihood_higher_is_better == {"lamp7": {"own_words": True, "copied": False}}
    assert isinstance(run.to_pandas()["copied"], pd.Series)
