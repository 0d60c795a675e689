"""Does every method keep its budget, and use it? Real budgets on fits that none of them can finish.

`make bench` prints seconds per fit, those of them in passes forward through the model, users and samples reached, and
optimizer steps made; `extra_info` in --benchmark-json has all of it.
SmolLM2 takes part where `harness models fetch smollm2-135m` has been run, alone and beside a process that keeps a core
busy. `pytest benchmarks/test_budgets.py --benchmark-only -k "chameleon and smollm2"` runs some.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice

import pytest

from harness.api import Example, User
from harness.model.embedding import load_embedder
from harness.model.lm import load
from harness.model.packaged.catalog import SMOLLM2_135M
from harness.registry import TASKS, model_folder
from harness.running.clock import BudgetClock
from harness.running.context import Context
from harness.running.preparation import Selector
from harness.running.retrieval import HistorySearch
from harness.specs.resolve import build_method, resolve
from harness.tasks.synthetic.world import synthetic_user

METHODS = ("aloe", "caa", "chameleon", "dpo", "llm_rec", "oppu", "pag", "style_vector")  # whose fits take time
USERS, EXAMPLES = 16_000, 2
USED = 0.9  # of the budget, at least, where work was left


@dataclass(frozen=True)
class Case:
    """A model with the preset made for it, the task it is fitted on, and the budgets in seconds."""

    model: str
    preset: str
    task: str
    budgets: tuple[int, ...]


CASES = (
    Case("tiny-llama", "tiny", "lamp3", (5, 20, 60)),
    Case("smollm2-135m", "small", "lamp7", (60, 120, 300)),
)
RUNS = [
    pytest.param(case, budget, busy, id=f"{case.model}-{budget}s-{'busy' if busy else 'idle'}")
    for case in CASES
    for budget in case.budgets
    for busy in (False, True)
]


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
    """Of each task."""
    return {case.task: list(_users(TASKS.get(case.task)())) for case in CASES}


@pytest.fixture
def other_work(request):
    """While the test runs, another process that never waits, if the test asks for one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])] if request.param else []
    yield
    for process in busy:
        process.kill()
        process.wait()


def _timed_passes(model):
    """A list whose one number is the seconds that the model has computed, forward."""
    spent, begun = [0.0], [0.0]

    def before(*_):
        begun[0] = time.monotonic()

    def after(*_):
        spent[0] += time.monotonic() - begun[0]

    for module in (model.base_model, model.get_output_embeddings()):
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    return spent


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("case", "budget", "other_work"), RUNS, indirect=["other_work"])
@pytest.mark.parametrize("name", METHODS)
def test_fit_time_against_budget(benchmark, users, tmp_path, name, case, budget, other_work):
    if case.model == SMOLLM2_135M.name and not SMOLLM2_135M.fetched:
        pytest.skip("SmolLM2 is not on this machine: harness models fetch smollm2-135m")
    spec = resolve(name, case.task, case.preset, budget=float(budget))
    method, lm = build_method(spec.methods[0], spec), load(model_folder(case.model))
    scratch, saved = tmp_path / "scratch", tmp_path / "fit"
    scratch.mkdir()
    saved.mkdir()
    clocks, embed, passes = [], load_embedder("tiny-llama", "cpu"), _timed_passes(lm.model)

    def fit():
        clock = BudgetClock(float(budget))
        clocks.append(clock)
        task, own = TASKS.get(case.task)(), users[case.task]
        whole = {user.id: user.history for user in own}
        search, select = HistorySearch(embed, whole), Selector(spec, embed, whole)
        context = Context(lm, task, own, "seen", clock, 0, scratch, embed, search, select)
        personalizer = method.fit(context)
        with clock.phase("save"):
            personalizer.save(saved)
        clock.stop()
        return context

    context = benchmark.pedantic(fit, rounds=1, iterations=1)
    clock, made = clocks[0], context.report.counts.get("optimizer_steps")
    benchmark.extra_info.update(
        budget=budget,
        fit_seconds=clock.elapsed(),
        share_of_budget=clock.elapsed() / budget,
        overran=clock.overran,
        exhausted=clock.exhausted,
        reason=clock.reason,
        users_fitted=context.report.users_fitted,
        samples_used=context.report.samples_used,
        optimizer_steps=made,
        phases=clock.phases,
        seconds_of_passes=passes[0],
    )
    phases = {phase: round(seconds, 2) for phase, seconds in clock.phases.items()}
    steps = "" if made is None else f", {made} steps"
    reached = f"{context.report.users_fitted} users, {context.report.samples_used} samples{steps}"
    print(f"\n{name}: {clock.elapsed():.2f} s of {budget} s, {passes[0]:.2f} s in passes, {reached}, {phases}")
    print(clock.reason)
    assert clock.exhausted, "the fit was too small for this budget to bind"
    assert not clock.overran
    assert clock.elapsed() >= USED * budget
