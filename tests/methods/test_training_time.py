"""ALOE and DPO on the clock: as many steps as fit, the deadline behind them, and checkpoints on the way."""

from types import SimpleNamespace

import pytest
import torch

from harness.methods.fine_tuning.deadline import Stopwatch
from harness.methods.fine_tuning.weights import Trained
from harness.methods.instruct import BasePrompt
from harness.running.checkpoints import Checkpoints
from harness.running.clock import BudgetClock
from tests.methods.trained import Ticks, aloe, dpo


@pytest.mark.parametrize("method", [aloe, dpo])
@pytest.mark.parametrize(
    ("budget", "accumulation", "steps", "exhausted"),
    [
        (20.0, 1, 6, False),  # 1 s of calibration tells that 6 s of training fit
        (7.5, 1, 3, True),  # it does not: 4 s of calibration, 3.5 s left for steps of 1.1 s
        (7.2, 1, 2, True),  # a third step might end late
        (4.5, 1, 0, True),
        (1.5, 1, 0, True),  # not even the calibration fits
        (20.0, 3, 2, False),
        (8.0, 3, 2, False),
        (7.5, 3, 1, True),
        (0.0, 1, 0, True),
    ],
)
def test_as_many_steps_as_fit_with_the_schedule_completed(
    make_context, monkeypatch, trainers, method, budget, accumulation, steps, exhausted
):
    clock = BudgetClock(budget, now=(ticks := Ticks(monkeypatch)))
    context = make_context(clock=clock)
    fitted = method(accumulation=accumulation, warmup_ratio=0.0).fit(context)
    assert context.report.counts.get("optimizer_steps", 0) == steps
    assert context.report.samples_used == steps * 2 * accumulation
    assert clock.exhausted is exhausted
    assert ticks.time <= budget + 1
    assert isinstance(fitted, Trained) is (steps > 0)
    if steps:
        assert set(trainers[-1].lr_scheduler.get_last_lr()) == {0.0}


@pytest.mark.parametrize(
    ("spans", "stops", "mean"),
    [
        ([], False, float("inf")),
        ([1.0], True, 2.5),  # 10 tokens a second: the second, of 40 tokens, would need 4 s of the 3.5 s left
        ([0.1], False, 0.25),
        ([0.1, 0.4], False, 0.4),
        ([0.1, 0.4, 0.2], True, 0.3),
    ],
)
def test_calibration_times_no_batch_that_may_not_end_in_time(spans, stops, mean):
    now = [0.0]
    clock = BudgetClock(5.5, now=lambda: now[0])
    stopwatch = Stopwatch(clock, reserve=1.0, sizes=[10, 40, 25], total=1000)
    arguments, control = SimpleNamespace(device=torch.device("cpu")), SimpleNamespace(should_training_stop=False)
    stopwatch.on_train_begin(arguments, None, control)
    for span in spans:
        now[0] += span
        stopwatch.on_step_end(arguments, None, control)
    assert control.should_training_stop is stops
    assert stopwatch.mean() == pytest.approx(mean)


def test_the_deadline_ends_a_run_that_turned_slower_than_calibrated(make_context, monkeypatch):
    monkeypatch.setattr("harness.methods.fine_tuning.trainer.calibrate", lambda *_: 0.1)
    clock = BudgetClock(3.5, now=(ticks := Ticks(monkeypatch)))
    context = make_context(clock=clock)
    fitted = aloe().fit(context)
    assert isinstance(fitted, Trained)
    assert context.report.counts["optimizer_steps"] == 3
    assert clock.exhausted
    assert ticks.time <= 3.5


def test_the_deadline_does_not_wait_for_a_long_step_to_end(make_context, monkeypatch):
    monkeypatch.setattr("harness.methods.fine_tuning.trainer.calibrate", lambda *_: 0.1)
    clock = BudgetClock(2.5, now=(ticks := Ticks(monkeypatch)))
    assert isinstance(aloe(accumulation=6).fit(make_context(clock=clock)), BasePrompt)
    assert ticks.time <= 3.5


@pytest.mark.parametrize("method", [aloe, dpo])
def test_checkpoints_are_the_weights_at_their_marks_and_leave_the_fit_as_it_is(
    make_context, monkeypatch, tmp_path, method
):
    def fit(marks):
        clock = BudgetClock(20, now=Ticks(monkeypatch))
        checkpoints = Checkpoints(marks, tmp_path / str(len(marks)), clock)
        context = make_context(clock=clock, checkpoints=checkpoints)
        return method(warmup_ratio=0.0).fit(context), checkpoints, context

    plain, _, _ = fit(())
    marked, checkpoints, context = fit((2.5, 5.0, 6.5))  # 1 s of calibration, then six steps of 1 s
    assert all(torch.equal(tensor, marked.tensors[name]) for name, tensor in plain.tensors.items())
    assert [(p.mark, p.seconds, p.samples_used) for p, _ in checkpoints.points] == [(2.5, 3.0, 4), (5.0, 5.0, 8)]
    assert [gone.mark for gone in checkpoints.missing()] == [6.5]  # the step that passes it is the last: the fit itself
    first, second = (Trained.load(folder, context.task).tensors for _, folder in checkpoints.points)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(second[name], marked.tensors[name]) for name in first)
