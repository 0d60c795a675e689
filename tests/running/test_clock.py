"""The budget clock, on a clock of our own making."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.running.clock import BudgetClock
from harness.running.pace import SAFETY

seconds = st.floats(min_value=0.01, max_value=10)


class FakeTime:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, duration: float) -> None:
        self.now += duration


@pytest.fixture
def time():
    return FakeTime()


@given(durations=st.lists(seconds, max_size=30), budget=seconds, reserve=st.floats(0, 5))
def test_steps_no_slower_than_predicted_never_overrun(durations, budget, reserve):
    time = FakeTime()
    clock = BudgetClock(budget, now=time)
    longest = 0.0
    for duration in clock.steps(durations, reserve):
        # A step may be as slow as the prediction; only the first has none.
        duration = min(duration, SAFETY * longest) if longest else duration
        time.sleep(duration)
        longest = max(longest, duration) if longest == 0 else longest
    first = durations[0] if durations else 0.0
    assert clock.elapsed() <= max(budget - reserve, first) + 1e-9


@given(durations=st.lists(seconds, max_size=30), budget=st.floats(0.01, 100), reserve=st.floats(0, 5))
def test_the_clock_is_exhausted_exactly_when_items_are_left(durations, budget, reserve):
    time = FakeTime()
    clock = BudgetClock(budget, now=time)
    done = 0
    for duration in clock.steps(durations, reserve):
        time.sleep(duration)
        done += 1
    assert clock.exhausted == (done < len(durations))


@given(durations=st.lists(seconds, min_size=1, max_size=20))
def test_an_ample_budget_yields_every_item(durations):
    time = FakeTime()
    clock = BudgetClock(1e6, now=time)
    assert list(clock.steps(durations)) == durations
    assert not clock.exhausted


@given(
    spans=st.lists(st.tuples(st.sampled_from(["insights", "pairs", "save"]), seconds, seconds, seconds), max_size=10),
)
def test_phases_with_untracked_add_up_to_the_elapsed_time(spans):
    time = FakeTime()
    clock = BudgetClock(1.0, now=time)
    for name, outer, inner, outside in spans:
        with clock.phase(name):
            time.sleep(outer)
            with clock.phase("inner"):
                time.sleep(inner)
        time.sleep(outside)
    clock.stop()
    assert sum(clock.phases.values()) == pytest.approx(clock.elapsed())
    assert clock.phases["untracked"] == pytest.approx(sum(span[3] for span in spans))
    assert clock.phases.get("inner", 0) == pytest.approx(sum(span[2] for span in spans))


def test_a_phase_is_booked_when_its_block_raises(time):
    clock = BudgetClock(1.0, now=time)

    def fail_after_two_seconds():
        with clock.phase("fit"):
            time.sleep(2.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_two_seconds()
    assert clock.phases["fit"] == 2.0
    assert clock.current == ""


def test_a_stopped_clock_stands_still(time):
    clock = BudgetClock(10.0, now=time)
    time.sleep(3)
    clock.stop()
    time.sleep(3)
    assert clock.elapsed() == 3
    assert clock.remaining() == 7


@pytest.mark.parametrize(
    ("budget", "spent", "overran"), [(10, 10.9, False), (10, 11.1, True), (100, 101.9, False), (100, 102.1, True)]
)
def test_an_overrun_is_more_than_two_percent_and_a_second(time, budget, spent, overran):
    clock = BudgetClock(budget, now=time)
    time.sleep(spent)
    clock.stop()
    assert clock.overran == overran


def test_the_device_is_synchronized_at_both_edges_of_a_phase(time):
    calls = []
    clock = BudgetClock(1.0, now=time, synchronize=lambda: calls.append(time.now))
    with clock.phase("fit"):
        time.sleep(1)
    assert calls == [100.0, 101.0]


@given(work=seconds, pause=seconds, more=seconds)
def test_what_happens_in_a_pause_takes_no_time(work, pause, more):
    time = FakeTime()
    clock = BudgetClock(100, now=time)
    with clock.phase("training"):
        time.sleep(work)
        with clock.paused():
            time.sleep(pause)
            assert clock.elapsed() == pytest.approx(work)
        time.sleep(more)
    time.sleep(1.0)
    clock.stop()
    time.sleep(1.0)
    assert clock.elapsed() == pytest.approx(work + more + 1)
    assert clock.phases == pytest.approx({"training": work + more, "untracked": 1.0})


def test_the_clock_goes_on_after_a_pause_that_failed(time):
    clock = BudgetClock(100, now=time)
    with suppress(KeyError), clock.paused():
        time.sleep(5)
        raise KeyError
    time.sleep(2)
    assert clock.elapsed() == pytest.approx(2)
