"""Error rates of verdicts on 150 made-up samples each: docs/statistics.md has those of 1,000."""

from functools import cache

import pytest

from tests.reproduction.verdict_simulation import FEW, SETTINGS, few_rates, rates, truths

pytestmark = pytest.mark.thorough

DRAWS = 150
BY_SIZE = {setting.comparisons: setting for setting in SETTINGS}


@cache
def found(comparisons, truth):
    setting = BY_SIZE[comparisons]
    return rates(setting, truths(setting.others)[truth], DRAWS)


@pytest.mark.parametrize("comparisons", [1, 3, 18])
def test_a_claim_that_is_true_as_reported_is_seldom_refuted_however_many_comparisons_it_has(comparisons):
    refuted = found(comparisons, "true as reported")["not supported"]
    assert refuted / DRAWS <= 0.12  # 0.05, and what so few samples may add


@pytest.mark.parametrize("comparisons", [1, 3, 18])
def test_a_false_claim_is_seldom_supported_and_mostly_refuted(comparisons):
    verdicts = found(comparisons, "false of all")
    assert verdicts["supported"] / DRAWS <= 0.08
    assert verdicts["not supported"] / DRAWS >= 0.7


@pytest.mark.parametrize(("few", "most"), list(zip(FEW, (0.02, 0.02, 0.25, 0.14), strict=True)))
def test_a_claim_that_is_true_as_reported_is_not_refuted_by_a_handful_of_users(few, most):
    assert few_rates(few, DRAWS)["not supported"] / DRAWS <= most


def test_the_former_rule_refuted_true_claims_the_oftener_the_more_comparisons_they_had():
    refuted = [found(comparisons, "true as reported")["former: not supported"] / DRAWS for comparisons in (1, 18)]
    assert refuted[1] > refuted[0] > 0.03
