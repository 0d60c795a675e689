"""Does every method keep its budget? Real budgets on a fit that none of them can finish.

`make bench` prints seconds per fit; `extra_info` in --benchmark-json has budget, status, users and samples of each.
A fit of 20 s or more may not overrun. At 5 s the first step, which nothing predicts, may be too large a share.
"""

from itertools import cycle, islice

import pytest

from harness.api import Example, User
from harness.model.lm import load
from harness.registry import MODELS, TASKS
from harness.running.clock import BudgetClock
from harness.running.context import Context
from harness.specs.resolve import build_method, resolve
from harness.tasks.synthetic.world import synthetic_user

METHODS = ("aloe", "chameleon", "dpo", "llm_rec")
BUDGETS = (5, 20, 60)
USERS, EXAMPLES = 16_000, 2


def _users(task):
    """Distinct users over 300 worlds: enough work to outlast every budget."""
    made = [synthetic_user(task.name, "train", index, history_size=8) for index in range(300)]
    for number, user in enumerate(islice(cycle(made), USERS)):
        name = f"{user.id}-{number}"
        examples = tuple(
            Example(name, query, tuple(item for item in user.history if item is not taken), answer)
            for taken in user.history[:EXAMPLES]
            for query, answer in [task.supervise(taken)]
        )
        yield User(name, user.history, examples)


@pytest.fixture(scope="module")
def users():
    return list(_users(TASKS.get("lamp3")()))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", METHODS)
def test_fit_time_against_budget(benchmark, users, tmp_path, name, budget):
    spec = resolve(name, "lamp3", budget=float(budget))
    method, lm = build_method(spec.methods[0], spec), load(str(MODELS.get("tiny-llama")))
    scratch, saved = tmp_path / "scratch", tmp_path / "fit"
    scratch.mkdir()
    saved.mkdir()
    clocks = []

    def fit():
        clock = BudgetClock(float(budget))
        clocks.append(clock)
        context = Context(lm, TASKS.get("lamp3")(), users, "seen", clock, 0, scratch, embedder=lambda texts: texts)
        personalizer = method.fit(context)
        with clock.phase("save"):
            personalizer.save(saved)
        clock.stop()
        return context

    context = benchmark.pedantic(fit, rounds=1, iterations=1)
    clock = clocks[0]
    benchmark.extra_info.update(
        budget=budget,
        fit_seconds=clock.elapsed(),
        share_of_budget=clock.elapsed() / budget,
        overran=clock.overran,
        exhausted=clock.exhausted,
        users_fitted=context.report.users_fitted,
        samples_used=context.report.samples_used,
        phases=clock.phases,
    )
    print(f"\n{name}: {clock.elapsed():.2f} s of {budget} s, {context.report.samples_used} samples, {clock.phases}")
    assert clock.exhausted, "the fit was too small for this budget to bind"
    assert budget < 20 or not clock.overran
