"""Chameleon where the machine is slow: what can still be tried is tried, and a fit that ends early says why."""

import pytest

from harness.conformance.toys import toy_users
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.running.clock import BudgetClock

CCS = {"epochs": 20, "restarts": 2}


def fitted(make_context, monkeypatch, budget, by_pair, **config):
    """A fit on a clock that stands still, where directions are said to take `by_pair` seconds a pair."""
    estimate = lambda *_: lambda pairs, groups: by_pair * pairs  # noqa: E731
    monkeypatch.setattr("harness.methods.chameleon.method.seconds_by_pairs", estimate)
    context = make_context(clock=BudgetClock(budget, now=lambda: 0.0), users=toy_users(6, examples=2))
    Chameleon(ChameleonConfig(ccs=CCS, **config)).fit(context)
    return context


def test_a_batch_too_large_for_the_budget_is_made_smaller_until_it_fits(make_context, monkeypatch):
    context = fitted(make_context, monkeypatch, budget=5.0, by_pair=1.0, batch_size=16, min_pairs=1)
    assert context.report.samples_used + context.report.counts["identical_outputs"] == 4
    assert context.clock.exhausted


def test_nothing_begins_where_not_even_the_directions_of_one_group_would_end_in_time(make_context, monkeypatch):
    context = fitted(make_context, monkeypatch, budget=5.0, by_pair=1.0, batch_size=16, min_pairs=8)
    assert context.report.samples_used == 0
    assert context.clock.reason == "0 of 12 items done with 5 s left, what follows needs about 8 s"


def test_an_ample_budget_keeps_the_batch_and_gives_no_reason(make_context, monkeypatch):
    context = fitted(make_context, monkeypatch, budget=500.0, by_pair=1.0, batch_size=16, min_pairs=1)
    assert not context.clock.exhausted
    assert context.clock.reason == ""


@pytest.mark.parametrize(
    ("reserve", "reason"),
    [
        (0.0, "notes: 2 of 9 steps done with 1 s left, the next needs about 2.4 s"),
        (1.5, "notes: 1 of 9 steps done with 3 s left, the next needs about 2.4 s, what follows needs about 1.5 s"),
        (6.0, "notes: 0 of 9 steps done with 5 s left, what follows needs about 6 s"),
    ],
)
def test_the_clock_says_why_it_stopped(reserve, reason):
    time = [0.0]
    clock = BudgetClock(5.0, now=lambda: time[0])
    with clock.phase("notes"):
        for _ in clock.steps(range(9), reserve):
            time[0] += 2.0
    assert clock.exhausted
    assert clock.reason == reason
