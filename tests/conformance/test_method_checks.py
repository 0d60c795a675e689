"""The clock of the conformance suite: it catches who ignores it, and its verdict does not depend on the machine."""

import re
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from harness.conformance.method_checks import AMPLE, Bench, check_clock
from harness.conformance.toys import ToyTask, toy_model
from harness.conformance.work_time import WorkTime
from harness.methods.aloe import Aloe
from harness.methods.fine_tuning.training_pace import TrainingPace
from harness.methods.instruct import Instruct
from harness.methods.llm_rec import LlmRec, Notes
from harness.running.clock import BudgetClock
from harness.testing import check_method
from tests.running.test_clock import FakeTime

SHORT = {"max_new_tokens": 4, "batch_size": 8}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def verdict(source, tmp_path):
    """What `check_clock` says of a method; empty if it passes."""

    def check(method, config, now=None):
        with WorkTime() as work:
            bench = Bench(method(method.Config(**config)), source, ToyTask(), tmp_path, work, now or work)
            try:
                check_clock(bench)
            except AssertionError as error:
                return str(error)
        return ""

    return check


class Heedless(LlmRec):
    """Writes a note for everybody, whatever the clock says."""

    def fit(self, context):
        unhurried = replace(context, clock=BudgetClock(AMPLE, lambda: 0.0))
        notes = self._write(unhurried, context.users) if context.users else {}
        return Notes(context.task, notes, "append")


class LooksOnce(Heedless):
    """Asks the clock before it begins, and never again."""

    def fit(self, context):
        return super().fit(context) if context.clock.remaining() else Notes(context.task, {}, "append")


def on_a_busy_machine(method):
    class Slow(method):
        def _write(self, context, users):
            time.sleep(0.2)  # which would be in the words of the verdict
            return super()._write(context, users)

    return Slow


@pytest.mark.parametrize("method", [Heedless, LooksOnce])
def test_who_ignores_the_clock_is_caught_with_the_same_words_on_any_machine(method, verdict):
    found = verdict(method, SHORT)
    assert "was overrun" in found
    assert verdict(on_a_busy_machine(method), SHORT) == found


def test_who_keeps_the_budget_passes_on_a_busy_machine(verdict):
    assert not verdict(on_a_busy_machine(LlmRec), SHORT)


def test_training_keeps_the_budget_and_is_caught_when_it_does_not(verdict, monkeypatch):
    config = {"batch_size": 4, "accumulation": 1}
    assert not verdict(Aloe, config)
    monkeypatch.setattr(TrainingPace, "fits", lambda *arguments: True)
    assert "was overrun" in verdict(Aloe, config)


def test_work_outside_the_model_is_timed_by_a_clock_of_ones_own(source):
    now = FakeTime()

    class AsksAServer(Instruct):
        def fit(self, context):
            for _ in context.users:
                now.sleep(3.0)
            return super().fit(context)

    check_method(AsksAServer, lm=source)
    with pytest.raises(AssertionError, match=r"a budget of .* s was overrun"):
        check_method(AsksAServer, lm=source, now=now)


@pytest.mark.parametrize(
    ("counts", "users_fitted", "fault"),
    [
        ({"loss": float("nan")}, 0, "finite numbers; these are none: ['loss']"),
        ({"converged": True}, 0, "finite numbers; these are none: ['converged']"),
        ({}, 2.0, "users_fitted is 2.0, no whole number"),
        ({"loss": np.float32(0.5)}, np.int64(2), ""),
    ],
)
def test_a_report_that_no_record_can_hold_is_caught(source, counts, users_fitted, fault):
    class Reports(Instruct):
        def fit(self, context):
            fitted = super().fit(context)
            context.report.counts, context.report.users_fitted = counts, users_fitted
            return fitted

    with pytest.raises(AssertionError, match=re.escape(fault)) if fault else nullcontext():
        check_method(Reports, lm=source)
