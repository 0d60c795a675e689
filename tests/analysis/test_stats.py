"""Intervals and tests against scipy, statsmodels, scikit-learn and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from harness.analysis import stats
from tests.fabricate import F1, LABELS

USERS = np.arange(40)


def mean(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def root(means: np.ndarray) -> np.ndarray:
    return np.sqrt(means[..., 0])


def column(seed: int, size: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=(size, 1))


def clustered(seed: int, users: int, per_user: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Samples whose user effects outweigh their noise, and their users."""
    rng = np.random.default_rng(seed)
    effects = np.repeat(rng.normal(size=users), per_user)
    return (effects + 0.1 * rng.normal(size=users * per_user))[:, None], np.repeat(np.arange(users), per_user)


def test_interval_is_scipys_bca_where_every_user_has_one_query() -> None:
    data = column(0)
    found = stats.interval(data, USERS, mean, resamples=20_000)
    expected = scipy_stats.bootstrap((data[:, 0],), np.mean, n_resamples=20_000, method="BCa", rng=1)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.03)


def test_interval_draws_users_not_queries() -> None:
    data, users = clustered(0, users=30)
    low, high = stats.interval(data, users, mean)
    low_of_means, high_of_means = stats.interval(data.reshape(30, 3).mean(1)[:, None], np.arange(30), mean)
    assert (low, high) == pytest.approx((low_of_means, high_of_means))
    low_if_independent, high_if_independent = stats.interval(data, np.arange(90), mean)
    assert high - low > 1.4 * (high_if_independent - low_if_independent)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draws = (np.random.default_rng(seed).normal(size=(50, 1)) for seed in range(200))
    covered = [low <= 0 <= high for low, high in (stats.interval(x, np.arange(50), mean, resamples=500) for x in draws)]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_interval_of_constant_answers_is_a_point_and_of_one_user_is_unknown() -> None:
    assert stats.interval(np.ones((6, 1)), np.arange(6), mean) == (1.0, 1.0)
    assert np.isnan(stats.interval(np.ones((6, 1)), np.zeros(6), mean)).all()


def test_macro_f1_interval_holds_the_estimate_although_resamples_lose_labels() -> None:
    rng = np.random.default_rng(0)
    gold = rng.choice(LABELS, 12)
    statistics = np.array([F1.statistics(label, label) for label in gold])
    low, high = stats.interval(statistics, np.arange(12), F1.value)
    assert low <= 1.0 <= high


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=3, max_size=30))
def test_f1_of_mean_statistics_is_sklearns(pairs: list[tuple[str, str]]) -> None:
    predictions, golds = zip(*pairs, strict=True)
    statistics = np.array([F1.statistics(*pair) for pair in pairs])
    expected = f1_score(golds, predictions, labels=LABELS, average="macro", zero_division=0.0)
    assert F1.value(statistics.mean(0)) == pytest.approx(expected)


def test_the_memory_of_resamples_is_bounded_by_working_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a = column(10)
    bounds = stats.interval(a, USERS, mean)
    monkeypatch.setattr(stats, "_BLOCK", 999)
    assert stats.interval(a, USERS, mean) == pytest.approx(bounds)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20))
def test_holm_never_lowers_p_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert adjusted == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert all(0 < p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert list(np.argsort(p_values, kind="stable")) == list(np.lexsort((p_values, adjusted)))


def test_per_user_values_worst_decile_and_regret() -> None:
    statistics, users = np.array([[1.0], [0.0], [0.0], [4.0]]), np.array(["b", "b", "a", "c"])
    ids, values = stats.per_user(statistics, users, root)
    assert list(ids) == ["a", "b", "c"]
    assert values == pytest.approx([0, np.sqrt(0.5), 2])
    assert stats.worst_decile(values, higher_is_better=True) == 0
    assert stats.worst_decile(values, higher_is_better=False) == 2
    assert stats.worst_decile(np.arange(20.0), higher_is_better=True) == 0.5
    baseline = np.array([0, 0.5, 3])
    assert stats.gains(values, baseline, higher_is_better=True) == pytest.approx([0, np.sqrt(0.5) - 0.5, -1])
    assert stats.gains(values, baseline, higher_is_better=False) == pytest.approx([0, 0.5 - np.sqrt(0.5), 1])
    assert list(stats.gains(values, values + 1e-16, higher_is_better=True)) == [0, 0, 0]
    assert stats.quartiles(np.arange(5.0)) == (0, 1, 2, 3, 4)
