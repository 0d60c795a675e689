"""Error rates on 1,000 made-up samples of 100 users each: see docs/statistics.md."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis import simulation

pytestmark = pytest.mark.thorough

DRAWS = 1000
PERMUTATIONS = 399  # a multiple of 20 less one has the level of 5% as exactly as more of them
MAE = simulation.true_mae()
NULLS = {
    "accuracy": (simulation.answers, simulation.mean),
    "mae": (simulation.ratings, simulation.mean),
    "rmse": (simulation.squares, simulation.root),
    "f1": (simulation.labels, simulation.F1.value),
}


@pytest.mark.parametrize("metric", NULLS)
def test_the_paired_test_errs_as_often_as_it_says(metric: str) -> None:
    draw, value = NULLS[metric]
    assert 0.03 <= simulation.type_one_error(draw, value, DRAWS, PERMUTATIONS) <= 0.07


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_a_test_that_ignored_users_would_err_too_often(metric: str) -> None:
    draw, value = NULLS[metric]
    assert simulation.type_one_error(draw, value, DRAWS, clustered=False) > 0.08


@pytest.mark.parametrize(("draw", "truth"), [(simulation.answers, simulation.SKILL), (simulation.ratings, MAE)])
def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says(draw: simulation.Draw, truth: float) -> None:
    covered, _ = simulation.coverage(draw, simulation.mean, truth, DRAWS)
    assert 0.93 <= covered <= 0.97


def test_the_interval_of_macro_f1_is_reported_as_it_comes() -> None:
    """It falls short where labels are rare; docs/statistics.md says by how much."""
    covered, width = simulation.coverage(simulation.labels, simulation.F1.value, simulation.true_macro_f1(), DRAWS)
    assert 0.8 <= covered <= 0.99
    assert 0 < width < 0.4


def test_the_truths_are_those_of_a_large_sample() -> None:
    rng = np.random.default_rng(2)
    for draw, value, truth in (
        *((simulation.answers, simulation.mean, simulation.SKILL), (simulation.ratings, simulation.mean, MAE)),
        *((simulation.squares, simulation.root, simulation.true_rmse()), (*NULLS["f1"], simulation.true_macro_f1())),
    ):
        pooled = np.concatenate([draw(rng).a for _ in range(1000)])
        assert float(value(pooled.mean(0))) == pytest.approx(truth, abs=0.01)
