"""ALOE and DPO on the clock: no step that does not fit, a schedule that ends with the budget, checkpoints."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import get_cosine_schedule_with_warmup, set_seed

from harness.methods.fine_tuning.micro_batches import MicroBatched, micro_batches
from harness.methods.fine_tuning.trainer import fit_weights
from harness.methods.fine_tuning.training_data import Row
from harness.methods.fine_tuning.training_pace import TrainingPace
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.running.checkpoints import Checkpoints
from harness.running.clock import BudgetClock
from tests.methods.trained import FAST, Ticks, aloe, dpo


@pytest.fixture
def rates():
    """The learning rate of every optimizer step."""
    found = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    yield found
    hook.remove()


def cosine(steps, warmup):
    """transformers' own schedule, as it is."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=FAST["learning_rate"])
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    found = []
    for _ in range(steps):
        found += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("method", [aloe, dpo])
@pytest.mark.parametrize(
    ("budget", "accumulation", "steps", "samples", "exhausted"),
    [
        (20.0, 1, 6, 12, False),  # six steps of 1 s
        (3.7, 1, 3, 6, True),  # of a fourth step nothing fits
        (0.8, 1, 1, 1, True),  # the first example alone
        (20.0, 3, 2, 12, False),
        (5.1, 3, 2, 8, True),  # 3 s, then a micro-batch of two examples, and another might end late
        (0.0, 1, 0, 0, True),
    ],
)
def test_as_many_examples_as_fit_and_no_more(
    make_context, monkeypatch, method, budget, accumulation, steps, samples, exhausted
):
    clock = BudgetClock(budget, now=(ticks := Ticks(monkeypatch)))
    context = make_context(clock=clock)
    fitted = method(accumulation=accumulation, warmup_ratio=0.0).fit(context)
    assert context.report.counts.get("optimizer_steps", 0) == steps
    assert context.report.samples_used == samples
    assert context.report.counts.get("shortened_accumulations", 0) == (samples % (2 * accumulation) > 0)
    assert clock.exhausted is exhausted
    assert ticks.time <= budget
    assert isinstance(fitted, Trained) is (steps > 0)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_the_learning_rate_is_the_natural_schedules_where_the_clock_does_not_bind(
    make_context, monkeypatch, rates, warmup
):
    expected = 2 * cosine(6, 2 if warmup else 0)
    rates.clear()
    fitted = [
        aloe(warmup_ratio=warmup).fit(make_context(clock=BudgetClock(budget, now=Ticks(monkeypatch))))
        for budget in (20.0, 9_000.0)
    ]
    assert rates == pytest.approx(expected)
    assert all(torch.equal(tensor, fitted[1].tensors[name]) for name, tensor in fitted[0].tensors.items())


@pytest.mark.parametrize("method", [aloe, dpo])
@pytest.mark.parametrize(("budget", "expected"), [(3.7, cosine(3, 0)), (2.7, cosine(2, 0)), (0.8, cosine(1, 0))])
def test_a_run_that_the_clock_ends_is_annealed_to_its_own_end(
    make_context, monkeypatch, rates, method, budget, expected
):
    method(warmup_ratio=0.0).fit(make_context(clock=BudgetClock(budget, now=Ticks(monkeypatch))))
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("budget", "expected"), [(0.8, cosine(1, 0)), (2.7, cosine(2, 0)), (20.0, cosine(6, 0))])
def test_no_step_is_spent_on_a_warm_up_of_one_step(make_context, monkeypatch, rates, budget, expected):
    aloe(warmup_ratio=0.1).fit(make_context(clock=BudgetClock(budget, now=Ticks(monkeypatch))))
    assert rates == pytest.approx(expected)
    assert min(rates) > 0


def test_a_step_that_is_cut_short_has_the_mean_gradient_of_its_examples(make_context, toy_source, monkeypatch):
    lora = LoraSettings(r=2, dropout=0.0)
    method = aloe(accumulation=3, training="lora", lora=lora, max_grad_norm=1e9)
    rows = [Row("A movie. " * n, {"completion": "a tag " * n}, "u") for n in range(1, 7)]
    gradients = []

    def keep(optimizer, *rest):
        gradients.append([w.grad.clone() for group in optimizer.param_groups for w in group["params"]])

    def fit(count, budget):
        context = make_context(lm=toy_source.pristine(), clock=BudgetClock(budget, now=Ticks(monkeypatch)))
        set_seed(0)  # an adapter starts at random
        forecast = method.config.forecast(context, rows[:count], lora)
        fit_weights(context, forecast, lora, lambda data: method._trainer(context, data, lora))
        assert context.report.samples_used == 1

    hook = register_optimizer_step_pre_hook(keep)
    fit(6, budget=0.8)
    fit(1, budget=100.0)
    hook.remove()
    for cut, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(cut, alone)


def test_a_run_that_turns_slower_ends_in_time(make_context, monkeypatch):
    clock = BudgetClock(6.5, now=(ticks := Ticks(monkeypatch)))
    real = MicroBatched.learn

    def slower(trainer, *arguments):
        ticks.time += 0.25 * len(trainer.used)
        return real(trainer, *arguments)

    monkeypatch.setattr(MicroBatched, "learn", slower)
    context = make_context(clock=clock)
    assert isinstance(aloe().fit(context), Trained)
    assert 0 < context.report.counts["optimizer_steps"] < 6
    assert clock.exhausted
    assert ticks.time <= 7.5


@pytest.mark.parametrize(
    ("lengths", "rows", "tokens", "small", "expected"),
    [
        ([5, 3, 4], 8, 100, False, [[1, 2, 0]]),
        ([5, 3, 4], 8, 100, True, [[1], [2, 0]]),
        ([5, 3, 4], 2, 100, False, [[1, 2], [0]]),
        ([5, 3, 4, 50], 8, 10, False, [[1, 2], [0], [3]]),  # 3 + 4 are 8 with padding; 50 are too many, but alone
        ([7], 1, 1, True, [[0]]),
    ],
)
def test_micro_batches_are_made_by_padded_tokens(lengths, rows, tokens, small, expected):
    assert micro_batches(lengths, rows, tokens, small) == expected


def test_the_pace_predicts_by_tokens_and_knows_the_optimizer_step():
    now = [0.0]
    pace = TrainingPace(BudgetClock(20.0, now=lambda: now[0]), reserve=1.0, step=2.0, device=torch.device("cpu"))
    pace.expect(tokens=10, seconds=5.0)
    assert pace.fits(33)
    assert not pace.fits(35)  # 17.5 s of the 17 s beside reserve and step
    with pace.micro_batch(10):
        now[0] += 2.0
    assert pace.fits(60)
    assert not pace.fits(65)  # 0.2 s a token, times the safety of 1.2, are 15.6 s of 15 s
    pace.step_begins()
    now[0] += 1.0
    pace.step_ends()
    assert pace.step() == 1.0
    # 14 s are left after the step at hand; one of 10 tokens takes 3 s, and 2.4 s are needed to begin it.
    assert pace.steps_to_come(tokens=10, smallest=10) == 4
    assert pace.steps_to_come(tokens=40, smallest=10) == 2  # one of 9 s, and 5 s for one that is cut short
    assert pace.steps_to_come(tokens=40, smallest=60) == 0


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
    marked, checkpoints, context = fit((1.5, 4.0, 5.5))  # six steps of 1 s
    assert all(torch.equal(tensor, marked.tensors[name]) for name, tensor in plain.tensors.items())
    assert [(p.mark, p.seconds, p.samples_used) for p, _ in checkpoints.points] == [(1.5, 2.0, 4), (4.0, 4.0, 8)]
    assert [gone.mark for gone in checkpoints.missing()] == [5.5]  # the step that passes it is the last: the fit itself
    first, second = (Trained.load(folder, context.task).tensors for _, folder in checkpoints.points)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(second[name], marked.tensors[name]) for name in first)
