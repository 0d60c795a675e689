"""Error rates of verdicts on 150 made-up samples each: docs/statistics.md has those of 1,000."""

import pytest

from tests.reproduction.verdict_simulation import SETTINGS, rates, truths

DRAWS = 150
BY_SIZE = {setting.comparisons: setting for setting in SETTINGS}


@pytest.mark.parametrize("comparisons", [1, 3, 18])
def test_a_claim_that_is_true_as_reported_is_seldom_refuted_however_many_comparisons_it_has(comparisons):
    setting = BY_SIZE[comparisons]
    found = rates(setting, truths(setting.others)["true as reported"], DRAWS)
    assert found["not supported"] / DRAWS <= 0.12  # 0.05, and what so few samples may add


@pytest.mark.parametrize("comparisons", [1, 3, 18])
def test_a_false_claim_is_seldom_supported_and_mostly_refuted(comparisons):
    setting = BY_SIZE[comparisons]
    found = rates(setting, truths(setting.others)["false of all"], DRAWS)
    assert found["supported"] / DRAWS <= 0.08
    assert found["not supported"] / DRAWS >= 0.7


def test_the_former_rule_refuted_true_claims_the_oftener_the_more_comparisons_they_had():
    refuted = []
    for comparisons in (1, 18):
        setting = BY_SIZE[comparisons]
        found = rates(setting, truths(setting.others)["true as reported"], DRAWS)
        refuted.append(found["former: not supported"] / DRAWS)
    assert refuted[1] > refuted[0] > 0.03
