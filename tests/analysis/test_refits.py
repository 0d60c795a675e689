"""Tests over users and fits, where methods were fitted with several seeds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.analysis.comparison import Comparison, Finding
from harness.analysis.paired_tests import paired
from harness.analysis.panel import minimum_detectable, users_needed
from harness.analysis.refits import Spread, over_fits
from harness.analysis.scores import align, pool
from harness.analysis.stats import holm
from harness.reporting.conclusions import answer_in_words
from tests.analysis import simulation
from tests.fabricate import compare, pair_of, record, row_of, run_spec, samples, store

MEAN = simulation.MEAN
ERRORS, COUNTS = st.floats(1e-3, 1e3), st.integers(2, 500)


@given(error=ERRORS, users=COUNTS, difference=st.floats(-1e3, 1e3))
def test_with_one_fit_it_is_student_s_t_over_users(error: float, users: int, difference: float) -> None:
    spread = Spread(error, users)
    t = scipy_stats.t(users - 1)
    assert spread.below(difference) == pytest.approx(t.cdf(difference / error), rel=1e-6, abs=1e-9)
    assert spread.quantile(0.975) == pytest.approx(t.ppf(0.975))
    assert spread.p_value(difference) == pytest.approx(2 * t.sf(abs(difference) / error), rel=1e-6, abs=1e-9)


@given(users_error=ERRORS, fits_error=ERRORS, users=COUNTS, fits=st.integers(2, 20), alpha=st.floats(1e-4, 0.9))
def test_the_critical_value_is_cochran_and_coxs(
    users_error: float, fits_error: float, users: int, fits: int, alpha: float
) -> None:
    spread = Spread(users_error, users, fits_error, fits)
    weights = users_error**2, fits_error**2
    values = [scipy_stats.t(count - 1).ppf(1 - alpha / 2) for count in (users, fits)]
    critical = np.average(values, weights=weights)
    assert spread.quantile(1 - alpha / 2) == pytest.approx(critical)
    assert spread.p_value(critical * math.sqrt(sum(weights))) == pytest.approx(alpha, rel=1e-4)


def test_where_users_do_not_differ_it_is_the_paired_t_test_of_the_seeds() -> None:
    a, b = np.array([0.31, 0.35, 0.28, 0.4]), np.array([0.2, 0.21, 0.27, 0.22])
    by_seed = [np.repeat(values[:, None, None], 5, axis=1) for values in (a, b)]
    spread = Spread(0.0, 5, over_fits(*by_seed, simulation.mean), 4)
    assert spread.p_value(a.mean() - b.mean()) == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)


def test_fits_that_all_came_out_alike_leave_the_test_over_users() -> None:
    rng = np.random.default_rng(0)
    a, b = (simulation.scores(rng.normal(size=50)) for _ in range(2))
    alone, thrice = (
        paired(a, b, MEAN, 1),
        paired(pool(dict.fromkeys(range(3), a)), pool(dict.fromkeys(range(3), b)), MEAN, 1),
    )
    assert alone is not None
    assert thrice is not None
    assert (thrice.fits, thrice.fits_error, thrice.p_fits, thrice.p) == (3, None, None, alone.p)
    assert (thrice.difference, thrice.standard_error) == pytest.approx((alone.difference, alone.standard_error))


def test_a_method_with_a_single_fit_is_tested_over_users_alone() -> None:
    rng = np.random.default_rng(1)
    one, *three = (simulation.scores(rng.normal(size=50)) for _ in range(4))
    found = paired(pool(dict(enumerate(three))), one, MEAN, 1)
    assert found is not None
    assert (found.fits, found.fits_error) == (1, None)


def test_only_seeds_of_both_methods_count() -> None:
    rng = np.random.default_rng(2)
    a, b = ({seed: simulation.scores(rng.normal(size=50)) for seed in seeds} for seeds in ((0, 1, 2), (1, 2, 5)))
    found = paired(pool(a), pool(b), MEAN, 1)
    assert found is not None
    gaps = [float((a[seed].statistics["mean"] - b[seed].statistics["mean"]).mean()) for seed in (1, 2)]
    assert (found.fits, found.fits_error) == (2, pytest.approx(np.std(gaps, ddof=1) / math.sqrt(2)))


def test_seeds_that_disagree_do_not_make_a_difference_however_many_users_there_are(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1, 2)))
    for seed, quality in enumerate((0.9, 0.2, 0.45)):
        for label, right in (("instruct", 0.3), ("dpo", quality)):
            frame = samples("lamp2", right, users=200, seed=10 * seed if label == "dpo" else 99)
            run.write(record("lamp2", label, frame, seed=seed), frame)
    comparison = compare(run)
    test = pair_of(comparison, "dpo", "instruct")
    assert test.difference > 0.1
    assert test.p < 0.001
    assert test.p_fits is not None
    assert test.p_fits > 0.05
    assert (test.fits, test.p_holm) == (3, test.p_fits)
    assert row_of(comparison, "dpo").vs_instruct["accuracy"].p_holm == test.p_fits
    assert comparison.rankings[0].tied
    text = "\n".join(answer_in_words(comparison))
    assert "dpo would be told from instruct, but their 3 fits differ" in text
    assert "more seeds would tell, more users would not." in text
    assert "users would show it" not in text
    alone = [row.vs_instruct["accuracy"].p for row in comparison.rows if row.label == "dpo" and row.seed == 0]
    assert alone[0] < 0.001


def three_fits_that_agree(root: Path) -> Comparison:
    """instruct, which is the same with every seed, and dpo, which is better by as much with each."""
    run = store(root, run_spec("instruct,dpo", seeds=(0, 1, 2)))
    for seed in range(3):
        for label, right in (("instruct", 0.3), ("dpo", 0.6)):
            frame = samples("lamp2", right, users=200, seed=seed if label == "dpo" else 99)
            run.write(record("lamp2", label, frame, seed=seed), frame)
    return compare(run)


def test_that_more_users_would_not_tell_is_said_only_where_they_would_not(tmp_path: Path) -> None:
    comparison = three_fits_that_agree(tmp_path)
    main = pair_of(comparison, "dpo", "instruct")
    # Over users it is clear by little, and the fits, which hardly differ, add what makes it unclear.
    close = main.model_copy(
        update={
            "difference": 0.0227, "p": 0.02, "p_fits": 0.06, "p_holm": 0.06, "standard_error": 0.01,
            "fits_error": 0.003, "minimum_detectable": 0.034,
        }
    )  # fmt: skip
    assert users_needed(close, close.difference) is not None
    changed = comparison.model_copy(update={"comparisons": [close]})
    text = "\n".join(answer_in_words(changed))
    assert "differ too much to say so of others: more seeds would tell." in text
    assert "users would show it" in text


def test_seeds_that_agree_do(tmp_path: Path) -> None:
    comparison = three_fits_that_agree(tmp_path)
    test = pair_of(comparison, "dpo", "instruct")
    assert test.p_fits is not None
    assert test.p < test.p_fits < 0.02
    assert (test.p_holm, comparison.rankings[0].tied) == (max(holm([test.p] * 2)[0], test.p_fits), [])


def test_a_pooled_score_keeps_its_fits_and_what_each_lacks() -> None:
    whole = simulation.scores(np.arange(4.0))
    part = simulation.scores(np.arange(4.0) + 1, queries=np.array(["1", "2", "3", "4"]))
    pooled = pool({7: whole, 8: part})
    assert pooled.statistics["mean"][:, 0].tolist() == [0, 1, 2, 3, 4]
    lacking = {seed: np.isnan(own["mean"][:, 0]).tolist() for seed, own in pooled.by_seed.items()}
    assert lacking == {7: [False] * 4 + [True], 8: [True] + [False] * 4}
    cut, _ = align(pooled, whole)
    assert cut.by_seed[8]["mean"].shape == (4, 1)
    assert pool({7: whole}).by_seed == {}


def test_the_smallest_detectable_difference_of_few_fits_is_larger() -> None:
    alone, few = Spread(0.02, 100), Spread(0.02 * math.sqrt(0.5), 100, 0.02 * math.sqrt(0.5), 3)
    wide, narrow = scipy_stats.t(2), scipy_stats.t(99)
    half = [(narrow.ppf(level) + wide.ppf(level)) / 2 for level in (0.975, 0.8)]
    assert minimum_detectable(few, 0.05) == pytest.approx(0.02 * sum(half))
    assert minimum_detectable(few, 0.05) > 1.2 * minimum_detectable(alone, 0.05)


@given(
    fits_error=st.floats(0.001, 0.1),
    difference=st.floats(0.01, 0.4),
    tests=st.integers(1, 30),
    fits=st.integers(2, 10),
)
def test_the_users_that_would_decide_do_and_where_fits_hide_the_difference_none_would(
    fits_error: float, difference: float, tests: int, fits: int
) -> None:
    def detectable(users: float) -> float:
        both = Spread(0.04 * math.sqrt(100 / users), 100, fits_error, fits)
        return max(minimum_detectable(both.of_users, 0.05 / tests), minimum_detectable(both, 0.05))

    test = Finding(
        p=0.5, p_holm=0.5, tests=tests, users=100, standard_error=0.04, fits=fits, fits_error=fits_error,
        minimum_detectable=detectable(100),
    )  # fmt: skip
    needed = users_needed(test, difference)
    if difference >= detectable(100):
        assert needed is None  # these users should have told
    elif needed is None:
        assert all(detectable(users) > difference for users in np.geomspace(100, 1e7, 60))
    else:
        assert detectable(needed) <= difference * 1.01
        assert detectable(0.97 * needed) > difference or needed <= 103


@pytest.mark.thorough
def test_over_users_and_fits_it_errs_as_rarely_as_it_says_and_over_users_alone_far_too_often() -> None:
    users, both = simulation.refit_errors(draws=400, fits=3)
    assert both <= 0.07
    assert users > 0.2
