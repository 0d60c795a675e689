"""What no fit could serve anybody with is refused before anything is loaded."""

import pytest

from harness.api import HarnessError
from harness.specs.resolve import resolve


@pytest.mark.parametrize("method", ["chameleon", "random_direction"])
def test_groups_with_too_few_examples_for_a_direction_are_refused(method):
    with pytest.raises(HarnessError, match=r"group_size=1 and --supervision 1 .* min_pairs=4.* Use --supervision 4"):
        resolve(method, budget=1.0, group_size=1)


@pytest.mark.parametrize("given", [{"group_size": 4}, {"group_size": 1, "supervision": 4}, {}])
def test_groups_that_may_have_enough_are_taken(given):
    assert resolve("chameleon", budget=1.0, **given)


def test_a_run_may_ask_for_fewer_pairs():
    assert resolve("chameleon", overrides={"chameleon": {"min_pairs": 1}}, budget=1.0, group_size=1)
