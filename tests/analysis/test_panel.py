"""Paired tests, effect sizes and detectable differences against scipy, statsmodels, scikit-learn and brute force."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import f1_score
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from harness.analysis import panel
from harness.analysis.comparison import Finding
from harness.analysis.panel import Panel, minimum_detectable, permutations_for, smallest_p, users_needed
from harness.analysis.refits import Spread
from harness.analysis.stats import Value, holm
from tests.analysis.test_stats import USERS, clustered, column, mean, root
from tests.fabricate import F1, LABELS


@dataclass(frozen=True)
class Outcome:
    """One pair."""

    difference: float
    p: float
    users: int


def compared(a: np.ndarray, b: np.ndarray, users: np.ndarray, value: Value, permutations: int = 10_000) -> Outcome:
    both = Panel([a, b], users, value)
    return Outcome(both.difference((0, 1)), both.p_values([(0, 1)], permutations)[0].p, len(both.counts))


def effect(a: np.ndarray, b: np.ndarray, users: np.ndarray, value: Value) -> float:
    return Panel([a, b], users, value).effect_size((0, 1))


def detectable(a: np.ndarray, b: np.ndarray, users: np.ndarray, value: Value, alpha: float = 0.05) -> float:
    panel = Panel([a, b], users, value)
    return minimum_detectable(Spread(panel.standard_error((0, 1)), len(panel.counts)), alpha)


def test_paired_test_is_scipys_where_every_user_has_one_query() -> None:
    a, b = column(1), column(2) + 0.4
    found = compared(a, b, USERS, mean)
    expected = scipy_stats.permutation_test(
        (a[:, 0], b[:, 0]), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=10_000, rng=0
    )
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.users == 40


@pytest.mark.parametrize("value", [mean, root], ids=["mean", "root"])
def test_few_users_are_enumerated_exactly(value: Value) -> None:
    a, b, users = column(3, 12), column(4, 12), np.repeat(np.arange(6), 2)
    observed = value(a.mean(0)) - value(b.mean(0))
    hits = 0
    for swaps in product([False, True], repeat=6):
        swap = np.array(swaps)[users][:, None]
        difference = value(np.where(swap, b, a).mean(0)) - value(np.where(swap, a, b).mean(0))
        hits += abs(difference) >= abs(observed) - 1e-12
    assert compared(a, b, users, value).p == hits / 64


def test_macro_f1_is_recomputed_whole() -> None:
    rng = np.random.default_rng(5)
    gold, first, second = (rng.choice(LABELS, 8) for _ in range(3))
    a, b = (np.array([F1.statistics(*pair) for pair in zip(x, gold, strict=True)]) for x in (first, second))

    def f1(prediction: np.ndarray) -> float:
        return float(f1_score(gold, prediction, labels=LABELS, average="macro", zero_division=0.0))

    observed = abs(f1(first) - f1(second))
    differences = []
    for swaps in product([False, True], repeat=8):
        differences.append(abs(f1(np.where(swaps, second, first)) - f1(np.where(swaps, first, second))))
    expected = np.mean(np.array(differences) >= observed - 1e-12)
    assert compared(a, b, np.arange(8), F1.value).p == expected


def test_users_without_a_difference_do_not_matter() -> None:
    a, b = column(6, 8), column(7, 8)
    same = column(8, 200)
    alone = compared(a, b, np.arange(8), mean)
    among = compared(np.vstack([a, same]), np.vstack([b, same]), np.arange(208), mean)
    assert among.p == pytest.approx(alone.p)
    assert among.users == 208


def test_identical_answers_and_a_single_user_have_p_one() -> None:
    a = column(9)
    assert compared(a, a, USERS, mean) == Outcome(0.0, 1.0, 40)
    assert compared(a, a + 1, np.zeros(40), mean).p == 1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(0, 10**6), st.sampled_from([mean, root]))
def test_swapping_the_methods_flips_the_sign_only(users: int, seed: int, value: Value) -> None:
    a, b = column(seed, users), column(seed + 1, users)
    one = compared(a, b, np.arange(users), value, permutations=500)
    other = compared(b, a, np.arange(users), value, permutations=500)
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == other.p
    assert smallest_p(users, 500) <= one.p <= 1


def test_no_p_is_smaller_than_the_smallest() -> None:
    for users in (3, 8, 40):
        a = np.zeros((users, 1))
        assert compared(a, a + 1, np.arange(users), mean).p == pytest.approx(smallest_p(users))


@pytest.mark.parametrize("users", [3, 5, 8])
def test_no_rounding_lowers_a_p(users: int) -> None:
    """Exchanging everybody is always as far apart, though the root of a mean of 1e-17 is far from that of 0."""
    for seed in range(50):
        errors = np.random.default_rng(seed).random((users, 1)) / 3
        with np.errstate(invalid="raise"):
            assert compared(np.zeros_like(errors), errors, np.arange(users), root).p == 2 / 2**users


def test_type_one_error_is_about_what_is_asked_for_under_clustering() -> None:
    rejected = 0
    for seed in range(300):
        a, users = clustered(2 * seed, users=20)
        b, _ = clustered(2 * seed + 1, users=20)
        rejected += compared(a, b, users, mean, permutations=400).p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


def test_the_memory_of_swaps_is_bounded_by_working_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = column(10), column(11)
    before = compared(a, b, USERS, mean)
    monkeypatch.setattr(panel, "_ENTRIES", 999)
    assert compared(a, b, USERS, mean).p == pytest.approx(before.p, abs=0.02)


def test_minimum_detectable_difference_is_found_with_the_power_that_it_promises() -> None:
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(100, 1)), rng.normal(size=(100, 1))
    least = detectable(a, b, np.arange(100), mean)
    assert least == pytest.approx((1.96 + 0.842) * np.sqrt(2 / 100), rel=0.25)
    found = 0
    for _ in range(200):
        x, y = rng.normal(size=(100, 1)) + least, rng.normal(size=(100, 1))
        found += compared(x, y, np.arange(100), mean, permutations=300).p < 0.05
    assert 0.6 <= found / 200 <= 0.95


def test_minimum_detectable_difference_is_statsmodels_where_every_user_has_one_query() -> None:
    rng = np.random.default_rng(21)
    a, b = rng.normal(size=(200, 1)), rng.normal(size=(200, 1))
    found = detectable(a, b, np.arange(200), mean, alpha=0.01)
    in_deviations = TTestPower().solve_power(nobs=200, alpha=0.01, power=0.8)
    assert found == pytest.approx(in_deviations * (a - b).std(ddof=1), rel=0.05)


def test_nothing_can_be_said_of_a_detectable_difference_without_spread() -> None:
    a = column(13)
    assert np.isnan(detectable(a, a, USERS, mean))
    assert np.isnan(detectable(a, a + 1, np.zeros(40), mean))


def test_effect_size_is_cohens_d_z_where_every_user_has_one_query() -> None:
    a, b = column(14), column(15) + 0.4
    difference = (a - b)[:, 0]
    found = effect(a, b, USERS, mean)
    assert found == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert found == pytest.approx(scipy_stats.ttest_rel(a[:, 0], b[:, 0]).statistic / np.sqrt(40))
    assert found == pytest.approx(DescrStatsW(difference).ttest_mean(0)[0] / np.sqrt(40))


def test_effect_size_is_that_of_the_users_means_where_all_have_equally_many_queries() -> None:
    a, users = clustered(16, users=30)
    b, _ = clustered(17, users=30)
    difference = (a - b).reshape(30, 3).mean(1)
    assert effect(a, b, users, mean) == pytest.approx(difference.mean() / difference.std(ddof=1))


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 30), st.integers(0, 10**6), st.sampled_from([mean, root]), st.floats(0.1, 100))
def test_effect_size_has_the_sign_of_the_difference_and_no_unit(
    users: int, seed: int, value: Value, scale: float
) -> None:
    a, b = column(seed, users), column(seed + 1, users)
    one = effect(a, b, np.arange(users), value)
    assert effect(b, a, np.arange(users), value) == pytest.approx(-one)
    assert effect(scale * a, scale * b, np.arange(users), value) == pytest.approx(one, rel=1e-4)
    assert np.sign(one) == np.sign(compared(a, b, np.arange(users), value, permutations=10).difference)


def test_effect_size_does_not_shrink_with_queries_that_repeat_each_other() -> None:
    a, b = column(18), column(19)
    twice = np.repeat(USERS, 2)
    repeated = effect(np.repeat(a, 2, axis=0), np.repeat(b, 2, axis=0), twice, root)
    assert repeated == pytest.approx(effect(a, b, USERS, root))


def test_effect_size_is_unknown_without_spread() -> None:
    a = column(20)
    assert np.isnan(effect(a, a, USERS, mean))
    assert np.isnan(effect(a, a + 1, USERS, mean))
    assert np.isnan(effect(a, 2 * a, np.zeros(40), mean))


def test_a_test_with_few_hits_goes_on_to_the_last_permutation_and_one_with_many_ends_at_the_first_look() -> None:
    rng = np.random.default_rng(30)
    base = rng.normal(size=(60, 1))
    panel_of_three = Panel([base, base + rng.normal(size=(60, 1)), base + 3 + 0.1 * base**2], np.arange(60), mean)
    like, unlike = panel_of_three.p_values([(0, 1), (0, 2)], 40_000)
    assert (like.p * 10_001) == pytest.approx(round(like.p * 10_001))
    assert unlike.p == pytest.approx(1 / 40_001)
    assert unlike.smallest == pytest.approx(1 / 40_001)


def test_what_is_tested_together_changes_no_p() -> None:
    answers = [column(seed) for seed in range(40, 45)]
    together = Panel(answers, USERS, mean).p_values([(0, 1), (2, 3), (4, 1)], 20_000)
    for (a, b), found in zip([(0, 1), (2, 3), (4, 1)], together, strict=True):
        assert Panel([answers[a], answers[b]], USERS, mean).p_values([(0, 1)], 20_000) == [found]


@pytest.mark.parametrize("tests", [1, 36, 84, 546, 2610])
def test_the_first_step_of_holm_can_reject_however_many_tests_there_are(tests: int) -> None:
    assert smallest_p(200, permutations_for(tests)) * tests < 0.05 / 4


def test_a_p_that_may_stop_early_is_as_rare_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping at looks after 100, 200, 400 and 800 permutations must leave P(p <= u) <= u under the null."""
    monkeypatch.setattr(panel, "FIRST_LOOK", 100)
    monkeypatch.setattr(panel, "_ROWS", (100, 50))
    rng = np.random.default_rng(31)
    draws, users = 6_000, np.arange(12)
    found = np.empty(draws)
    for seed in range(draws):
        both = Panel([rng.normal(size=(12, 1)), rng.normal(size=(12, 1))], users, mean)
        found[seed] = both.p_values([(0, 1)], 800, seed)[0].p
    # Below a third, what ended at 100, 200 or 400 permutations is no whole number of 801sts.
    to_the_end = (np.abs(801 * found - np.round(801 * found)) < 1e-6) & (found < 0.3)
    assert 0.01 < to_the_end.mean() < 0.05
    assert found[~to_the_end].min() >= (1 + panel.STOP) / 401
    for level in (0.002, 0.005, 0.0125, 0.02, 0.05, 0.11, 0.3):
        share, error = float(np.mean(found <= level)), 3 * np.sqrt(level * (1 - level) / draws)
        assert share <= level + error
        assert share >= level - 1 / 101 - error


def test_holm_finds_every_clear_difference_among_fifteen_methods_three_tasks_and_two_metrics() -> None:
    rng = np.random.default_rng(32)
    answers = [(rng.random((200, 1)) < quality).astype(float) for quality in np.linspace(0.05, 0.95, 14)]
    pairs = [(a, b) for a in range(14) for b in range(a)]
    tests = 6 * len(pairs)
    found = Panel(answers, np.arange(200), mean).p_values(pairs, permutations_for(tests))
    adjusted = dict(zip(pairs, holm([one.p for one in found] * 6)[: len(pairs)], strict=True))
    assert all(adjusted[a, b] < 0.05 for a, b in pairs if a - b >= 4)


def test_of_few_users_that_differ_the_number_of_swaps_is_the_floor() -> None:
    a = column(33, 200)
    b = a.copy()
    b[:6] += 1
    (found,) = Panel([a, b], np.arange(200), mean).p_values([(0, 1)], 50_000)
    assert (found.p, found.smallest) == (2 / 64, 2 / 64)


def test_the_users_that_would_decide_a_difference_are_those_of_a_power_calculation() -> None:
    sd, difference, users = 0.3, 0.05, 100
    detectable = 2.8016 * sd / users**0.5  # two-sided 0.05, 80% power
    exact = TTestPower().solve_power(effect_size=difference / sd, alpha=0.05, power=0.8)
    test = Finding(p=0.5, p_holm=0.5, users=users, standard_error=sd / 10, minimum_detectable=detectable)
    assert users_needed(test, difference) == pytest.approx(exact, rel=0.02)
    assert users_needed(test, 0.0) is None
    assert users_needed(test.model_copy(update={"minimum_detectable": None}), difference) is None
    assert users_needed(test.model_copy(update={"minimum_detectable": 0.01}), 0.02) is None  # these should have told
