"""Intervals and tests against scipy, statsmodels, scikit-learn and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import f1_score
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

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


def test_paired_test_is_scipys_where_every_user_has_one_query() -> None:
    a, b = column(1), column(2) + 0.4
    found = stats.paired_test(a, b, USERS, mean)
    expected = scipy_stats.permutation_test(
        (a[:, 0], b[:, 0]), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=10_000, rng=0
    )
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.users == 40


@pytest.mark.parametrize("value", [mean, root], ids=["mean", "root"])
def test_few_users_are_enumerated_exactly(value: stats.Value) -> None:
    a, b, users = column(3, 12), column(4, 12), np.repeat(np.arange(6), 2)
    observed = value(a.mean(0)) - value(b.mean(0))
    hits = 0
    for swaps in product([False, True], repeat=6):
        swap = np.array(swaps)[users][:, None]
        difference = value(np.where(swap, b, a).mean(0)) - value(np.where(swap, a, b).mean(0))
        hits += abs(difference) >= abs(observed) - 1e-12
    assert stats.paired_test(a, b, users, value).p == hits / 64


def test_macro_f1_is_recomputed_whole() -> None:
    rng = np.random.default_rng(5)
    gold, first, second = (rng.choice(LABELS, 10) for _ in range(3))
    a, b = (np.array([F1.statistics(*pair) for pair in zip(x, gold, strict=True)]) for x in (first, second))

    def f1(prediction: np.ndarray) -> float:
        return float(f1_score(gold, prediction, labels=LABELS, average="macro", zero_division=0.0))

    observed = abs(f1(first) - f1(second))
    differences = []
    for swaps in product([False, True], repeat=10):
        differences.append(abs(f1(np.where(swaps, second, first)) - f1(np.where(swaps, first, second))))
    expected = np.mean(np.array(differences) >= observed - 1e-12)
    assert stats.paired_test(a, b, np.arange(10), F1.value).p == expected


def test_users_without_a_difference_do_not_matter() -> None:
    a, b = column(6, 8), column(7, 8)
    same = column(8, 200)
    alone = stats.paired_test(a, b, np.arange(8), mean)
    among = stats.paired_test(np.vstack([a, same]), np.vstack([b, same]), np.arange(208), mean)
    assert among.p == pytest.approx(alone.p)
    assert among.users == 208


def test_identical_answers_and_a_single_user_have_p_one() -> None:
    a = column(9)
    assert stats.paired_test(a, a, USERS, mean) == stats.Test(0.0, 1.0, 40)
    assert stats.paired_test(a, a + 1, np.zeros(40), mean).p == 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(0, 10**6), st.sampled_from([mean, root]))
def test_swapping_the_methods_flips_the_sign_only(users: int, seed: int, value: stats.Value) -> None:
    a, b = column(seed, users), column(seed + 1, users)
    one = stats.paired_test(a, b, np.arange(users), value, permutations=500)
    other = stats.paired_test(b, a, np.arange(users), value, permutations=500)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == other.p
    assert stats.smallest_p(users, 500) <= one.p <= 1


def test_no_p_is_smaller_than_the_smallest() -> None:
    for users in (3, 8, 40):
        a = np.zeros((users, 1))
        assert stats.paired_test(a, a + 1, np.arange(users), mean).p == pytest.approx(stats.smallest_p(users))


def test_type_one_error_is_about_what_is_asked_for_under_clustering() -> None:
    rejected = 0
    for seed in range(300):
        a, users = clustered(2 * seed, users=20)
        b, _ = clustered(2 * seed + 1, users=20)
        rejected += stats.paired_test(a, b, users, mean, permutations=400).p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


def test_memory_is_bounded_by_working_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = column(10), column(11)
    test, bounds = stats.paired_test(a, b, USERS, mean), stats.interval(a, USERS, mean)
    monkeypatch.setattr(stats, "_BLOCK", 999)
    assert stats.paired_test(a, b, USERS, mean).p == pytest.approx(test.p, abs=0.02)
    assert stats.interval(a, USERS, mean) == pytest.approx(bounds)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20))
def test_holm_never_lowers_p_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(0 < p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert list(np.argsort(p_values, kind="stable")) == list(np.lexsort((p_values, adjusted)))


def test_minimum_detectable_difference_is_found_with_the_power_that_it_promises() -> None:
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(100, 1)), rng.normal(size=(100, 1))
    detectable = stats.minimum_detectable_difference(a, b, np.arange(100), mean)
    assert detectable == pytest.approx((1.96 + 0.842) * np.sqrt(2 / 100), rel=0.25)
    found = 0
    for _ in range(200):
        x, y = rng.normal(size=(100, 1)) + detectable, rng.normal(size=(100, 1))
        found += stats.paired_test(x, y, np.arange(100), mean, permutations=300).p < 0.05
    assert 0.6 <= found / 200 <= 0.95


def test_minimum_detectable_difference_is_statsmodels_where_every_user_has_one_query() -> None:
    rng = np.random.default_rng(21)
    a, b = rng.normal(size=(200, 1)), rng.normal(size=(200, 1))
    found = stats.minimum_detectable_difference(a, b, np.arange(200), mean, alpha=0.01)
    in_deviations = TTestPower().solve_power(nobs=200, alpha=0.01, power=0.8)
    assert found == pytest.approx(in_deviations * (a - b).std(ddof=1), rel=0.05)


def test_nothing_can_be_said_of_a_detectable_difference_without_spread() -> None:
    a = column(13)
    assert np.isnan(stats.minimum_detectable_difference(a, a, USERS, mean))
    assert np.isnan(stats.minimum_detectable_difference(a, a + 1, np.zeros(40), mean))


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


def test_effect_size_is_cohens_d_z_where_every_user_has_one_query() -> None:
    a, b = column(14), column(15) + 0.4
    difference = (a - b)[:, 0]
    found = stats.effect_size(a, b, USERS, mean)
    assert found == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert found == pytest.approx(scipy_stats.ttest_rel(a[:, 0], b[:, 0]).statistic / np.sqrt(40))
    assert found == pytest.approx(DescrStatsW(difference).ttest_mean(0)[0] / np.sqrt(40))


def test_effect_size_is_that_of_the_users_means_where_all_have_equally_many_queries() -> None:
    a, users = clustered(16, users=30)
    b, _ = clustered(17, users=30)
    difference = (a - b).reshape(30, 3).mean(1)
    assert stats.effect_size(a, b, users, mean) == pytest.approx(difference.mean() / difference.std(ddof=1))


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 30), st.integers(0, 10**6), st.sampled_from([mean, root]), st.floats(0.1, 100))
def test_effect_size_has_the_sign_of_the_difference_and_no_unit(
    users: int, seed: int, value: stats.Value, scale: float
) -> None:
    a, b = column(seed, users), column(seed + 1, users)
    one = stats.effect_size(a, b, np.arange(users), value)
    assert stats.effect_size(b, a, np.arange(users), value) == pytest.approx(-one)
    assert stats.effect_size(scale * a, scale * b, np.arange(users), value) == pytest.approx(one, rel=1e-4)
    assert np.sign(one) == np.sign(stats.paired_test(a, b, np.arange(users), value, permutations=10).difference)


def test_effect_size_does_not_shrink_with_queries_that_repeat_each_other() -> None:
    a, b = column(18), column(19)
    twice = np.repeat(USERS, 2)
    repeated = stats.effect_size(np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0), twice, root)
    assert repeated == pytest.approx(stats.effect_size(a, b, USERS, root))


def test_effect_size_is_unknown_without_spread() -> None:
    a = column(20)
    assert np.isnan(stats.effect_size(a, a, USERS, mean))
    assert np.isnan(stats.effect_size(a, a + 1, USERS, mean))
    assert np.isnan(stats.effect_size(a, 2 * a, np.zeros(40), mean))
