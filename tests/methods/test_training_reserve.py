"""What trained methods keep of the budget while they collect what to train on."""

from dataclasses import replace

from harness.api import OutOfTime
from harness.conformance.toys import toy_users
from harness.methods.aloe import Aloe, AloeConfig
from harness.running.clock import BudgetClock


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
