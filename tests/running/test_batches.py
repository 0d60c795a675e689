"""Batches that grow as the clock allows, on a clock of our own making."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import OutOfTime
from harness.running.clock import BudgetClock
from harness.running.pace import SAFETY, Pace
from tests.running.test_clock import FakeTime


def fit(budget, items, most, seconds, reserve=0.0):
    """(batches done, clock): each batch takes `seconds(batch)`, cut off at its deadline."""
    time = FakeTime()
    clock, done = BudgetClock(budget, now=time), []
    for batch in clock.batches(items, most, float, reserve):
        with clock.cut_off():
            wanted, left = seconds(batch), clock.time_left()
            time.sleep(min(wanted, left))
            if wanted > left:
                raise OutOfTime
            done.append(batch)
    return done, clock


def test_batches_begin_with_one_item_and_double_to_the_most():
    done, clock = fit(1e6, list(range(40)), 16, len)
    assert [len(batch) for batch in done] == [1, 2, 4, 8, 16, 9]
    assert [item for batch in done for item in batch] == list(range(40))
    assert not clock.exhausted


@given(
    budget=st.floats(1, 500),
    fixed=st.floats(0, 3),
    per_unit=st.floats(0.01, 1),
    works=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    reserve=st.floats(0, 20),
)
def test_a_fit_never_uses_the_reserve_and_leaves_no_more_than_one_item_would_take(
    budget, fixed, per_unit, works, reserve
):
    done, clock = fit(budget, works, 16, lambda batch: fixed + per_unit * sum(batch), reserve)
    assert clock.elapsed() <= max(0.0, budget - reserve) + 1e-6
    assert clock.exhausted == (sum(map(len, done)) < len(works))
    if clock.exhausted and done:
        following = works[sum(map(len, done))]
        # An exact line is known once two different amounts were timed; until then all is taken to be work.
        slowest = max(per_unit, max((fixed + per_unit * sum(batch)) / sum(batch) for batch in done))
        assert budget - reserve - clock.elapsed() <= max(fixed, 0) + slowest * following + 1e-6


def test_near_the_end_batches_get_smaller_and_use_the_budget_up():
    done, clock = fit(100.0, [1] * 1000, 32, lambda batch: 1 + len(batch))
    assert max(map(len, done)) > 8
    assert len(done[-1]) < 8
    assert clock.remaining() <= 2


def test_a_prediction_goes_by_work_and_not_by_the_number_of_items():
    done, clock = fit(30.0, [1, 1, 1, 100], 8, sum)
    assert [len(batch) for batch in done] == [1, 2]
    assert clock.reason == "3 of 4 items done with 27 s left, the next needs about 120 s"


@pytest.mark.parametrize(("last", "done"), [(10.0, 5), (20.0, 4)])
def test_an_item_is_tried_if_the_fastest_recent_pace_would_finish_it(last, done):
    spans = iter([10.0, 20.0, 20.0, 20.0, last])
    batches, clock = fit(82.0, [1] * 9, 1, lambda batch: next(spans))
    assert len(batches) == done
    assert clock.exhausted


def test_a_step_that_is_late_is_given_up_before_the_reserve_and_the_clock_says_so():
    done, clock = fit(20.0, [1] * 10, 1, lambda batch: 50.0, reserve=5.0)
    assert done == []
    assert clock.remaining() == pytest.approx(5)
    assert clock.reason == "a step was given up with 5 s left, what follows needs about 5 s"


def test_the_reserve_is_asked_with_the_number_of_items_that_a_step_adds():
    done, clock = fit(20.0, [1] * 64, 32, lambda batch: 1.0, reserve=lambda more: 3.0 * more)
    assert max(map(len, done)) < 7
    assert clock.exhausted


def test_other_errors_pass_a_cut_off():
    clock = BudgetClock(1.0)
    with pytest.raises(KeyError), clock.cut_off():
        raise KeyError
    assert not clock.exhausted


def test_small_steps_are_predicted_from_small_ones_however_many_large_ones_came_since():
    pace = Pace()
    for count in (1, 2, 4, *[64] * 50):
        pace.add(count, 2.0 + 0.5 * count)
    assert pace.at_best(1) == pytest.approx(2.5)
    assert pace.with_margin(16) == pytest.approx(SAFETY * 10.0)


def test_a_machine_that_slows_down_slows_the_predictions_with_margin_at_once():
    pace = Pace()
    for _ in range(10):
        pace.add(4, 1.0)
    pace.add(4, 3.0)
    assert pace.with_margin(4) == pytest.approx(SAFETY * 3.0)
