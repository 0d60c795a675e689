"""Retrieval against plain formulas: BM25 word by word, cosines one by one."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HistoryItem, Query
from harness.running.retrieval import Bm25, HistorySearch

WORDS = ("dog", "cat", "rain", "sun", "tea", "a", "Dog", "it's")
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=7)


def words(text):
    return re.findall(r"\b\w\w+\b", text.lower())


def bm25(documents, query, k1=1.5, b=0.75):
    """Robertson and Zaragoza (2009) with Lucene's idf, which is never negative, and without its constant k1 + 1."""
    bags = [words(document) for document in documents]
    mean = sum(map(len, bags)) / len(bags)
    scores = []
    for bag in bags:
        score = 0.0
        for word in words(query):
            having = sum(word in other for other in bags)
            count = bag.count(word)
            if count:
                idf = math.log(1 + (len(bags) - having + 0.5) / (having + 0.5))
                score += idf * count / (count + k1 * (1 - b + b * len(bag) / mean))
        scores.append(score)
    return scores


def embed(given_texts):
    """Counts of a few words: vectors of different lengths and directions."""
    return np.array(
        [[1 + words(text).count(word) for word in ("dog", "cat", "rain")] for text in given_texts], np.float32
    )


def history(*given_texts, date=lambda place: ""):
    return tuple(HistoryItem(str(place), text, date=date(place)) for place, text in enumerate(given_texts))


def search(*given_texts, by="bm25", k=2, text="a dog in the rain", **more):
    found = HistorySearch(embed, {"ann": history(*given_texts, **more)}).search(Query("q", "ann", text), by, k)
    return [(int(item.id), item.rank) for item in found]


@settings(max_examples=60)
@given(texts, st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join))
def test_bm25_equals_the_plain_formula(documents, query):
    np.testing.assert_allclose(Bm25(documents).scores(query), bm25(documents, query), atol=1e-5)


@settings(max_examples=60)
@given(texts, st.sampled_from(["bm25", "dense"]), st.integers(0, 8), st.sampled_from(WORDS))
def test_the_k_best_are_taken_in_their_original_order_and_ties_go_to_the_earlier(documents, by, k, query):
    vectors, asked = embed(documents), embed([query])[0]
    cosines = [float(row @ asked / np.linalg.norm(row) / np.linalg.norm(asked)) for row in vectors]
    reference = np.array(cosines if by == "dense" else bm25(documents, query))
    reference = reference / max(reference.max(), 1e-9)
    found = search(*documents, by=by, k=k, text=query)
    assert [place for place, _ in found] == sorted(place for place, _ in found)
    order = [place for place, _ in sorted(found, key=lambda pair: pair[1])]
    assert len(order) == min(k, len(documents))
    left = [place for place in range(len(documents)) if place not in order]
    for first, second in [*pairwise(order), *((order[-1], place) for place in left if order)]:
        assert reference[first] > reference[second] - 2e-4
        assert first < second or documents[first] != documents[second]


def test_the_most_relevant_item_has_rank_0_and_is_dropped_last():
    assert search("cats sleep", "a dog sleeps", "sun", "a dog in the rain") == [(1, 1), (3, 0)]
    assert search("cat cat", "dog dog", "cat", "dog rain", by="dense") == [(1, 1), (3, 0)]


def test_recency_goes_by_date_and_by_the_files_order_without():
    assert search("one", "two", "three", by="recency") == [(1, 1), (2, 0)]
    assert search("one", "two", "three", by="recency", date=lambda place: str(2020 - place)) == [(0, 0), (1, 1)]


def test_nothing_in_common_leaves_the_order_of_the_file():
    assert search("tea", "sun", "", by="bm25") == [(0, 0), (1, 1)]
    assert search("", "", by="bm25") == search("x", "y", text="", by="bm25") == [(0, 0), (1, 1)]


def test_equal_texts_tie_whatever_rounding_did_to_their_embeddings():
    noise = iter(np.random.default_rng(0).normal(scale=1e-7, size=(9, 4)).astype(np.float32))
    items = {"ann": history(*["dog"] * 4)}
    found = HistorySearch(lambda many: np.ones((len(many), 4), np.float32) + next(noise), items)
    assert [item.id for item in found.search(Query("q", "ann", "dog"), "dense", 2)] == ["0", "1"]


def test_words_are_rare_among_the_items_that_are_left():
    """Without the first item, "dog" is as rare as "rain"; with it, more common."""
    items = {"ann": history("dog dog", "dog tea", "tea rain", "sun sun")}
    found = HistorySearch(embed, items)
    assert [item.id for item in found.most_relevant("ann", "dog rain", "bm25", 1)] == ["2"]
    assert [item.id for item in found.most_relevant("ann", "dog rain", "bm25", 1, without={0})] == ["1"]


@pytest.mark.parametrize("by", ["bm25", "dense", "recency"])
def test_nobodys_and_an_empty_history_hold_nothing(by):
    found = HistorySearch(embed, {"ann": ()})
    assert [found.search(Query("q", user, "dog"), by, 3) for user in ("ann", "nobody")] == [(), ()]
    assert [found.index(user, by) for user in ("ann", "nobody")] == [0, 0]


def test_an_item_is_embedded_and_a_query_is_asked_once():
    asked = []
    found = HistorySearch(lambda many: asked.append(list(many)) or embed(many), {"ann": history("dog", "cat")})
    assert found.index("ann", "dense") == 2
    for _ in range(2):
        found.search(Query("q", "ann", "rain"), "dense", 1)
    assert asked == [["dog", "cat"], ["rain"]]
