"""Checkpoints at marks of a budget: when they are taken, what they cost, and what is said of those that are missing."""

import pytest

from harness.running.checkpoints import Checkpoints
from harness.running.clock import BudgetClock
from harness.specs.run_spec import CellSpec
from tests.running.test_clock import FakeTime
from tests.specs.test_run_spec import CELL


class Slow:
    """A personalizer whose making or saving takes time."""

    def __init__(self, time, seconds):
        self.time, self.seconds = time, seconds

    def save(self, directory):
        self.time.sleep(self.seconds)
        (directory / "saved").write_text("yes")


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def fit(time, tmp_path):
    """A fit of steps that last so many seconds each, with a checkpoint after each."""

    def run(marks, steps, makes=None):
        clock = BudgetClock(100, now=time)
        checkpoints = Checkpoints(tuple(marks), tmp_path / "checkpoints", clock)
        for number, seconds in enumerate(steps, start=1):
            time.sleep(seconds)
            checkpoints.offer(number, makes or (lambda: Slow(time, 50.0)))
        clock.stop()
        return checkpoints, clock

    return run


def test_a_mark_gets_the_first_checkpoint_after_it_and_saving_is_off_the_clock(fit):
    checkpoints, clock = fit([2.5, 4.0], [1.0] * 5)
    assert [(p.mark, p.seconds, p.samples_used, p.annealed) for p, _ in checkpoints.points] == [
        (2.5, 3.0, 3, False),
        (4.0, 4.0, 4, False),
    ]
    assert all((folder / "saved").read_text() == "yes" for _, folder in checkpoints.points)
    assert clock.elapsed() == pytest.approx(5.0)
    assert checkpoints.missing() == []


def test_nothing_is_made_away_from_a_mark(fit):
    def make():
        raise AssertionError

    checkpoints, _ = fit([50.0], [1.0] * 5, make)
    assert checkpoints.points == []
    assert [(gone.mark, gone.reason) for gone in checkpoints.missing()] == [(50.0, "the fit ended after 5.0 s")]


def test_a_step_over_several_marks_stands_for_the_last_of_them(fit):
    checkpoints, _ = fit([1.0, 2.0, 9.0], [3.0, 1.0])
    assert [(point.mark, point.seconds) for point, _ in checkpoints.points] == [(2.0, 3.0)]
    assert [gone.mark for gone in checkpoints.missing()] == [1.0, 9.0]
    assert "between" in checkpoints.missing()[0].reason


def test_a_fit_without_checkpoints_is_said_to_have_none(fit):
    checkpoints, _ = fit([1.0], [])
    assert "no checkpoints" in checkpoints.missing()[0].reason


def test_marks_change_a_cells_hash_and_their_absence_leaves_it_as_it_was():
    plain = CellSpec(**CELL)
    assert CellSpec(**CELL, marks=(0.5,)).digest != plain.digest
    assert plain.digest == "1a81b4d6cfb9dcbbdee297c1da17bc4fa07f3dd5df23784e72b2b5cabd124c66"
