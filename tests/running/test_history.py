"""Selection of history items against the paper's equations in plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.api import HistoryItem
from harness.running.history import dropping_order, note_on_dates, projection_norms, select

embeddings = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    elements=st.floats(-10, 10, width=32),
)


def items(count):
    return [HistoryItem(str(index), f"text {index}") for index in range(count)]


@given(embeddings, st.integers(1, 8))
def test_projection_norms_equal_an_eigendecomposition_of_the_covariance(matrix, k):
    centred = matrix.astype(np.float64) - matrix.astype(np.float64).mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    top = vectors[:, np.argsort(-values)[:k]]
    # Components of equal variance span the same subspace only together; compare where the cut is clear.
    ordered = np.sort(values)[::-1]
    if k < len(ordered) and ordered[k - 1] - ordered[k] < 1e-3 * max(ordered[0], 1):
        return
    np.testing.assert_allclose(projection_norms(matrix, k), np.linalg.norm(centred @ top, axis=1), atol=1e-3)


@given(embeddings, st.integers(0, 15), st.sampled_from(["pca", "random", "recency"]))
def test_k_items_are_chosen_in_their_original_order_with_distinct_ranks(matrix, k, strategy):
    history = items(len(matrix))
    chosen = select(history, matrix, k, strategy, seed="u")
    ids = [int(item.id) for item in chosen]
    assert len(ids) == min(k, len(history))
    assert ids == sorted(ids)
    assert sorted(item.rank for item in chosen) == list(range(len(ids)))


def test_the_outlying_item_is_the_most_representative():
    matrix = np.array([[0.0, 0.1], [0.1, 0.0], [9.0, 9.0], [0.0, 0.0]], np.float32)
    assert [item.id for item in select(items(4), matrix, 1, "pca", seed="")] == ["2"]


def test_recency_takes_the_end_of_the_file():
    chosen = select(items(5), np.zeros((5, 2), np.float32), 2, "recency", seed="")
    assert [(item.id, item.rank) for item in chosen] == [("3", 1), ("4", 0)]


DATES = ("2013-05-02", "2019-11-30", "2011-01-07", "2016-08-15")


def dated(*dates):
    return [HistoryItem(str(index), f"text {index}", date=date) for index, date in enumerate(dates)]


def test_recency_takes_the_latest_dates_in_the_files_order():
    chosen = select(dated(*DATES), np.zeros((4, 2), np.float32), 2, "recency", seed="")
    assert [(item.id, item.rank) for item in chosen] == [("1", 0), ("3", 1)]


def test_of_equal_dates_the_later_in_the_file_is_the_latest_and_undated_items_are_the_oldest():
    chosen = select(dated("", "2011", "2011-01", "2011", ""), np.zeros((5, 2), np.float32), 4, "recency", seed="")
    assert [(item.id, item.rank) for item in chosen] == [("1", 2), ("2", 0), ("3", 1), ("4", 3)]


def test_a_reader_is_told_where_recency_knows_no_dates():
    assert note_on_dates([dated(*DATES)]) == ""
    assert note_on_dates([items(3), items(2)]) == "recency takes the file's order: items carry no dates"
    assert note_on_dates([dated("2011"), items(2)]).startswith("recency takes 2 of 3 history items for the oldest")


def test_random_selection_depends_on_its_seed_alone():
    matrix = np.zeros((20, 2), np.float32)
    assert select(items(20), matrix, 5, "random", "a") == select(items(20), matrix, 5, "random", "a")
    assert select(items(20), matrix, 5, "random", "a") != select(items(20), matrix, 5, "random", "b")


def test_the_least_representative_item_is_dropped_first_and_of_equals_the_earlier():
    history = [HistoryItem(name, "", rank=rank) for name, rank in zip("abcd", (1, 2, 0, 2), strict=True)]
    assert dropping_order(history) == [1, 3, 0, 2]


def test_an_empty_history_selects_nothing():
    assert select([], np.zeros((0, 3), np.float32), 4, "pca", seed="") == ()
    assert dropping_order([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_rounding_errors_do_not_decide_between_equal_items(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 8)).astype(np.float32)
    embeddings = np.repeat(rows, 3, axis=0)  # each text three times over
    other = embeddings + rng.normal(scale=1e-7, size=embeddings.shape).astype(np.float32)
    chosen, again = (select(items(12), vectors, 6, "pca", "0") for vectors in (embeddings, other))
    assert [item.id for item in chosen] == [item.id for item in again]
