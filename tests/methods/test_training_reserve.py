"""What trained methods keep of the budget while they collect what to train on."""

import math
from dataclasses import replace

import pytest

from harness.api import OutOfTime
from harness.conformance.toys import toy_users
from harness.methods.aloe import Aloe, AloeConfig
from harness.methods.base_prompt import Unedited
from harness.methods.dpo import Dpo
from harness.methods.fine_tuning.training_data import Row
from harness.running.clock import BudgetClock
from tests.methods.trained import LORA, Ticks, aloe, dpo


class Slow:
    """A language model that takes three seconds of the test's clock for every call of `generate`."""

    def __init__(self, lm, time):
        self.lm, self.time = lm, time

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, time_left=None, **settings):
        for _ in range(30):
            self.time[0] += 0.1
            if time_left is not None and time_left() <= 0:
                raise OutOfTime
        return self.lm.generate(prompts, max_new_tokens, **settings)


def test_the_first_example_may_take_more_than_the_share_of_the_data_and_is_trained_on(make_context):
    time = [0.0]
    context = make_context(clock=BudgetClock(5.0, now=lambda: time[0]), users=toy_users(4, examples=1))
    context.users = [
        replace(user, examples=tuple(replace(e, query=None) for e in user.examples)) for user in context.users
    ]
    context.lm = Slow(context.lm, time)
    Aloe(AloeConfig(learning_rate=1e-3, batch_size=1, accumulation=1, training_share=0.5)).fit(context)
    assert context.report.samples_used == 1
    assert context.report.counts["optimizer_steps"] == 1


class Stuck:
    """A language model that answers once, in three seconds, and never a second time; it reads a row in one."""

    def __init__(self, lm, ticks):
        self.lm, self.ticks, self.asked = lm, ticks, 0

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, time_left=None, **settings):
        self.asked += 1
        if self.asked == 1:
            self.ticks.time += 3.0
            return self.lm.generate(prompts, max_new_tokens, **settings)
        while time_left() > 0:
            self.ticks.time += 0.1
        raise OutOfTime

    def log_likelihood(self, prompts, outputs, time_left):
        self.ticks.time += 1.0


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_second_example_that_is_given_up_leaves_time_to_train_on_the_first(make_context, monkeypatch, share):
    ticks = Ticks(monkeypatch, 3.0)
    users = [
        replace(user, examples=tuple(replace(e, query=None) for e in user.examples))
        for user in toy_users(4, examples=1)
    ]
    context = make_context(clock=BudgetClock(14.0, now=ticks), users=users)
    context.lm = Stuck(context.lm, ticks)
    aloe(batch_size=1, training_share=share).fit(context)
    assert context.lm.asked == 2
    assert context.report.counts["optimizer_steps"] == 1
    assert not context.clock.overran


class Timed:
    """A language model whose reading takes `pace` seconds of the test's clock per token, each prompt once."""

    def __init__(self, lm, time, pace=0.1):
        self.lm, self.time, self.pace = lm, time, pace
        self.read = []

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def log_likelihood(self, prompts, outputs, time_left):
        answers = sum(len(self.lm.answer_ids(output)) + 1 for output in outputs)
        self.read.append(self.pace * (sum(map(self.lm.count_tokens, set(prompts))) + answers))
        self.time[0] += self.read[-1]


class Late(Timed):
    """Reads no row to its end."""

    def log_likelihood(self, prompts, outputs, time_left):
        while time_left() > 0:
            self.time[0] += 0.1
        raise OutOfTime


def test_a_row_whose_reading_would_end_late_is_given_up_and_not_trained_on(make_context):
    time = [0.0]
    context = make_context(clock=BudgetClock(5.0, now=lambda: time[0]))
    context.lm = Late(context.lm, time)
    fitted = aloe(batch_size=1).fit(context)
    assert isinstance(fitted, Unedited)
    assert context.clock.exhausted
    assert not context.clock.overran
    assert "given up" in context.clock.reason


def tokens(lm, row):
    return lm.count_tokens(row.prompt) + sum(len(lm.answer_ids(answer)) + 1 for answer in row.answers.values())


@pytest.mark.parametrize(
    ("method", "lora", "passes"),
    [(aloe(), None, 3), (aloe(training="lora", lora=LORA), LORA, 2), (dpo(), LORA, 3)],
)
def test_training_is_forecast_by_the_tokens_of_its_rows_from_a_pass_over_the_first(make_context, method, lora, passes):
    time, rows = [0.0], list[Row]()
    context = make_context(clock=BudgetClock(10_000.0, now=lambda: time[0]))
    context.lm = Timed(context.lm, time)
    reference = {"reference": True} if isinstance(method, Dpo) else {}
    forecast = method.config.forecast(context, rows, lora, **reference)
    assert forecast.reserve(3) == time[0] == 0.0
    rows.append(Row("A movie in the city. Which tag?", {"chosen": "comedy", "rejected": "a classic"}, "u"))
    late = 1  # pass more, as what is given up before the only row may end a little late
    assert forecast.reserve(0) == pytest.approx(0.1 * (passes + late) * tokens(context.lm, rows[0]))
    read = time[0]
    rows.append(Row("A letter.", {"chosen": "a", "rejected": "b"}, "v"))
    both = sum(tokens(context.lm, row) for row in rows)
    assert forecast.reserve(0) == pytest.approx(0.1 * passes * both)
    assert forecast.reserve(2) == pytest.approx(2 * forecast.reserve(0))
    assert forecast.of(7) == pytest.approx(0.7 * passes)
    assert time[0] == read
    assert forecast.reserve(10**6) == 0.5 * context.clock.budget


def test_a_slow_moment_at_the_first_row_is_made_up_for_by_later_ones(make_context):
    time, rows = [0.0], [Row("A movie in the city. Which tag?", {"completion": "comedy"}, "u")]
    context = make_context(clock=BudgetClock(10_000.0, now=lambda: time[0]))
    context.lm = Timed(context.lm, time, pace=0.4)
    forecast = aloe().config.forecast(context, rows, None)
    forecast.measure()
    assert forecast.of(1) == pytest.approx(3 * 0.4)
    context.lm.pace = 0.1
    for _ in range(99):
        rows.append(replace(rows[0]))
        forecast.measure()
    assert len(context.lm.read) == 4  # with 1, 4, 16 and 64 rows
    assert forecast.of(1) == pytest.approx(3 * (0.4 + 3 * 0.1) / 4)


def test_no_row_is_read_again_where_little_time_is_left(make_context):
    time, rows = [0.0], [Row("A movie in the city. Which tag?", {"completion": "comedy"}, "u")] * 4
    context = make_context(clock=BudgetClock(60.0, now=lambda: time[0]))
    context.lm = Timed(context.lm, time)
    forecast = aloe().config.forecast(context, rows[:1], None)
    forecast.measure()
    forecast.rows = rows
    time[0] = 60.0 - 20 * context.lm.read[0]
    forecast.measure()
    assert len(context.lm.read) == 1


def test_epochs_and_data_that_is_still_to_be_mixed_in_are_forecast_too(make_context):
    time, rows = [0.0], [Row("A movie.", {"completion": "a"}, "u")] * 2
    context = make_context(clock=BudgetClock(10_000.0, now=lambda: time[0]))
    context.lm = Timed(context.lm, time)
    plain = aloe().config.forecast(context, rows, None)
    mixed = aloe(num_epochs=3).config.forecast(context, rows, None, share=0.5)
    assert mixed.reserve(0) == pytest.approx(6 * plain.reserve(0))


def test_nothing_is_read_once_the_time_is_over(make_context):
    context = make_context(clock=BudgetClock(0.0))
    forecast = aloe().config.forecast(context, [Row("A movie.", {"completion": "a"}, "u")], None)
    forecast.measure()
    assert forecast.of(1) == math.inf
    assert forecast.reserve(0) == 0.0
    assert context.lm.tokens_computed == 0
