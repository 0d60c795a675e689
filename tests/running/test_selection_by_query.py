"""`--selection bm25` and `dense`: each query and each example has a history of its own, never what gives it away."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import Query
from harness.running.leaks import LeakSearch
from harness.running.preparation import Selector
from harness.tasks.lamp import Lamp7
from tests.running.test_preparation import SPEC, data, prepared, write_split
from tests.running.test_retrieval import embed, history

__all__ = ["data"]  # a fixture
BY_QUERY = ["bm25", "dense"]


def selecting(selection, k):
    return SPEC.model_copy(update={"selection": selection, "history": k})


def texts(items):
    return [item.text for item in items]


@pytest.mark.parametrize("selection", BY_QUERY)
def test_two_queries_of_one_user_see_what_each_is_about(selection):
    select = Selector(selecting(selection, 1), embed, {"ann": history("the dog", "rain", "a cat")})
    found = select.for_queries([Query("q0", "ann", "cat and cat"), Query("q1", "ann", "no dog, dog")])
    assert {query: texts(items) for query, items in found.items()} == {"q0": ["a cat"], "q1": ["the dog"]}


@pytest.mark.parametrize("selection", BY_QUERY)
def test_k_items_in_the_files_order_for_every_query(data, selection):
    result = prepared(data, selection=selection)
    assert set(result.histories) == {query.id for query in result.queries}
    for items in result.histories.values():
        assert [item.id for item in items] == sorted(item.id for item in items)
        assert sorted(item.rank for item in items) == [0, 1, 2]


@pytest.mark.parametrize("selection", BY_QUERY)
def test_what_is_learned_without_a_query_are_the_most_representative_items(data, selection):
    users, by_norm = (prepared(data, selection=name).pool.users(0) for name in (selection, "pca"))
    assert [user.history for user in users] == [user.history for user in by_norm]


@pytest.mark.parametrize("selection", BY_QUERY)
def test_leaks_are_removed_before_anything_is_retrieved(tmp_path, selection):
    leak = {"id": "leak", "text": "Question 0  of ann", "score": "3"}
    write_split(tmp_path, "dev", ["ann"], extra=[leak])
    clean, kept = (prepared(tmp_path, selection=selection, keep_leaks=keep) for keep in (False, True))
    assert (clean.leaks_removed, kept.leaks_removed) == (1, 0)
    assert "leak" not in [item.id for items in (*clean.histories.values(), *clean.whole.values()) for item in items]
    assert "leak" in [item.id for item in kept.histories["dev-ann-0"]]


@pytest.mark.parametrize("selection", BY_QUERY)
def test_users_who_are_fitted_on_but_not_evaluated_are_searched_for_their_questions(data, selection):
    result = prepared(data, regime="unseen", eval_history="none", selection=selection)
    assert set(result.histories.values()) == set(result.whole.values()) == {()}
    for user in result.pool.users(0):
        assert all(len(example.history) == 3 for example in user.examples)


WORDS = st.lists(st.sampled_from(["dog", "cat", "rain"]), min_size=1, max_size=2).map(" ".join)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=7), st.sampled_from(BY_QUERY), st.integers(1, 8))
def test_an_example_retrieves_neither_itself_nor_what_gives_it_away(given_texts, selection, k):
    """Short texts recur, so that an example has twins; as a tweet (its text is the answer) and as a labelled item."""
    spec = selecting(selection, k)
    items = history(*given_texts)
    select = Selector(spec, embed, {"ann": items})
    for item in items:
        for query, answer in ((None, item.text), (item.text, "5")):
            shown = select.for_example("ann", item, query, answer)
            assert not LeakSearch(shown).find(Query("", "ann", query or item.text), answer)
            twins = [other for other in items if other.text == item.text]
            assert len(shown) == min(k, len(items) - len(twins))


def test_kept_leaks_keep_an_examples_twins_but_never_itself():
    items = history("dog", "Dog", "cat")
    select = Selector(selecting("bm25", 5).model_copy(update={"keep_leaks": True}), embed, {"ann": items})
    assert [item.id for item in select.for_example("ann", items[0], None, "dog")] == ["1", "2"]


def test_a_tweets_items_are_those_for_its_own_words(tmp_path):
    place = tmp_path / "LaMP_7"
    place.mkdir()
    stem = "Paraphrase the following tweet without any explanation before or after it: "
    profile = [{"id": str(n), "text": text} for n, text in enumerate(["tea at noon", "a dog", "the dog runs", "tea"])]
    (place / "dev_questions.json").write_text(json.dumps([{"id": "q", "input": f"{stem}a dog", "profile": profile}]))
    (place / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_7", "golds": [{"id": "q", "output": "!"}]}))
    [user] = prepared(tmp_path, task=Lamp7(), selection="bm25", history=1, supervision=4).pool.users(0)
    assert {example.answer: texts(example.history) for example in user.examples} == {
        "tea at noon": ["tea"],
        "tea": ["tea at noon"],
        "the dog runs": ["tea at noon"],
    }


def test_every_fit_pays_for_what_it_asks_of_the_histories_that_all_share():
    embedded = []
    items = history("dog", "cat", "rain")
    select = Selector(selecting("dense", 1), lambda many: embedded.extend(many) or embed(many), {"ann": items})
    select.for_queries([Query("q", "ann", "sun")])
    del embedded[:]
    for _ in range(2):
        select.for_example("ann", items[0], "dog", "5")
    assert embedded == ["dog", "dog"]


def test_the_rows_of_a_users_embeddings_are_those_of_the_items_left():
    items = history("dog dog", "cat", "cat cat cat", "rain")
    select = Selector(selecting("dense", 1), embed, {"ann": items})
    assert texts(select.for_example("ann", items[1], "cat", "5")) == ["cat cat cat"]
    assert np.all([item.rank == 0 for item in select.for_example("ann", items[0], "dog dog", "5")])
