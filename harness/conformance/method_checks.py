"""The conformance suite of methods: what every plug-in promises the engine, checked on toys in seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness.api import HistoryItem, Method, Personalizer, Query, Reserve, Task, User
from harness.conformance.toys import ToyTask, toy_model, toy_queries, toy_user, toy_users
from harness.conformance.work_time import WorkTime
from harness.running.checkpoints import Checkpoints
from harness.running.clock import BudgetClock, tolerance
from harness.running.context import Context
from harness.running.preparation import Selector
from harness.running.retrieval import HistorySearch
from harness.specs.run_spec import MethodSpec, RunSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.model.lm import HuggingFaceModel

T = TypeVar("T")
AMPLE = 1e9  # seconds
NONE = 1e-6
CROWD = 9  # users whose examples make more than one batch
CANARY = "Zanzibar"
SPEC = RunSpec(methods=(MethodSpec(name="toy"),), tasks=("toy",), budget=AMPLE, model="toy")


class WatchedClock(BudgetClock):
    """Remembers the longest step, in seconds."""

    longest = 0.0

    def steps(self, items: Sequence[T], reserve: Reserve = 0.0) -> Iterator[T]:
        return self._watched(super().steps(items, reserve))

    def batches(
        self, items: Sequence[T], most: int, work: Callable[[T], float], reserve: Reserve = 0.0
    ) -> Iterator[list[T]]:
        return self._watched(super().batches(items, most, work, reserve))

    def _watched(self, steps: Iterator[T]) -> Iterator[T]:
        for step in steps:
            begun = self.elapsed()
            yield step
            self.longest = max(self.longest, self.elapsed() - begun)


@dataclass
class Bench:
    """A method with what it takes to fit it and to ask it; each fit gets a pristine model, each evaluation can.

    `now` is the time on the clocks of fits; `work` counts what the models do that it hands out to them.
    """

    method: Method
    source: HuggingFaceModel
    task: Task
    folder: Path
    work: WorkTime
    now: Callable[[], float]

    def fit(
        self, users: Sequence[User], budget: float = AMPLE, seed: int = 0, marks: tuple[float, ...] = ()
    ) -> tuple[Personalizer, Context, WatchedClock]:
        """Fit within `budget`, with checkpoints at `marks` (seconds)."""
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        context = Context(
            lm=self.work.watch(self.source.pristine()),
            task=self.task,
            users=users,
            regime="seen",
            clock=(clock := WatchedClock(budget, self.now)),
            seed=seed,
            scratch=scratch,
            embedder=_embed,
            search=_search(users),
            select=Selector(SPEC, _embed, _whole(users)),
            checkpoints=Checkpoints(marks, scratch / "checkpoints", clock),
        )
        return self.method.fit(context), context, clock

    def ask(
        self,
        personalizer: Personalizer,
        users: Sequence[User],
        lm: HuggingFaceModel | None = None,
        evaluated: Sequence[User] | None = None,
    ) -> list[str]:
        """The raw answers to one query of each user, who may be some of those `evaluated`."""
        queries = toy_queries(users)
        fixed = personalizer.answers(queries)
        if fixed is not None:
            return fixed
        lm = lm or self.source.pristine()
        with personalizer.patched_model(lm):
            return lm.generate(
                prompts(personalizer, users, evaluated), self.task.max_new_tokens, personalizer.edits(queries)
            )


def prompts(personalizer: Personalizer, users: Sequence[User], evaluated: Sequence[User] | None = None) -> list[str]:
    """What the model is asked for each user; all the `evaluated` have histories to search, by default these alone."""
    search = _search(users if evaluated is None else evaluated)
    pairs = zip(toy_queries(users), users, strict=True)
    return [personalizer.prompt(query, personalizer.retrieve(query, user.history, search)) for query, user in pairs]


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.ones((len(texts), 2), dtype=np.float32)


def _search(users: Sequence[User]) -> HistorySearch:
    return HistorySearch(_embed, _whole(users))


def _whole(users: Sequence[User]) -> dict[str, tuple[HistoryItem, ...]]:
    """Histories of users whose whole history was selected, as toys have it."""
    return {user.id: user.history for user in users}


def check_method(
    method_class: type[Method],
    config: dict[str, Any] | None = None,
    *,
    shares_users: bool = True,
    task: Task | None = None,
    lm: HuggingFaceModel | None = None,
    now: Callable[[], float] | None = None,
) -> None:
    """Raise AssertionError with a sentence if the method breaks one of its promises.

    `shares_users`: whether what it learns from one user may change another user's answers. If not, histories are
    changed and the others' answers compared. `task` and `lm` replace the toy task and the random tiny Llama.

    Budgets are kept in the time that `now` returns, in seconds. By default that is counted work, `WorkTime`, so that
    no verdict depends on how busy the machine is. Give a clock of your own, and move it, where a method works outside
    the model and torch's optimizers, e.g. asks a server.
    """
    settings = method_class.Config(**(config or {}))
    with tempfile.TemporaryDirectory() as folder, WorkTime() as work:
        source = lm or toy_model(Path(folder) / "model")
        bench = Bench(method_class(settings), source, task or ToyTask(), Path(folder), work, now or work)
        assert bench.method.config is settings, "the constructor must store its configuration as it is"
        users = toy_users(4, task=bench.task)
        personalizer, context, clock = bench.fit(users)
        answers = bench.ask(personalizer, users)
        check_report(context, users)
        check_model_is_restored(bench, personalizer, users)  # before the checks that ask one model more than once
        check_answers(bench, personalizer, users, answers)
        check_save_and_load(bench, personalizer, users, answers)
        check_seed_and_checkpoints(bench, users, answers, clock.elapsed())
        check_privacy(bench, users, answers, shares_users)
        check_clock(bench)


def check_report(context: Context, users: Sequence[User]) -> None:
    """The report adds up, and an ample budget was not used up."""
    report = context.report
    assert not context.clock.exhausted, "the clock of an ample budget is marked exhausted"
    for name in ("users_fitted", "samples_used"):
        value = getattr(report, name)
        assert _is_number(value, Integral), f"{name} is {value!r}, no whole number"
    assert 0 <= report.users_fitted <= len(users), f"users_fitted is {report.users_fitted} of {len(users)}"
    assert report.samples_used >= 0, f"samples_used is {report.samples_used}"
    bad = [name for name, value in report.counts.items() if not (_is_number(value, Real) and np.isfinite(value))]
    assert not bad, f"report.counts must hold finite numbers; these are none: {bad}"
    values = report.diagnose().values if report.diagnose else {}
    bad = [name for name, value in values.items() if not isinstance(value, str) and not np.isfinite(value)]
    assert not bad, f"a diagnosis must hold finite numbers and texts; these are neither: {bad}"


def _is_number(value: object, kind: type[Integral] | type[Real]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_answers(bench: Bench, personalizer: Personalizer, users: Sequence[User], answers: list[str]) -> None:
    """One answer per query; a batch answers as each query alone; strangers and users without history get an answer."""
    assert len(answers) == len(users), f"{len(answers)} answers to {len(users)} queries"
    lm = bench.source.pristine()
    alone = [bench.ask(personalizer, [user], lm, users)[0] for user in users]
    assert alone == answers, f"answers depend on the batch: {answers} together, {alone} one by one"
    strangers = [toy_user("stranger", task=bench.task), replace(users[0], history=users[0].history[:1])]
    assert len(bench.ask(personalizer, strangers, lm)) == len(strangers)
    empty = personalizer.prompt(Query("q", "nobody", "a movie"), ())
    assert empty.endswith("Your answer:"), f"a prompt must end in 'Your answer:', not in {empty[-20:]!r}"


def check_model_is_restored(bench: Bench, personalizer: Personalizer, users: Sequence[User]) -> None:
    """`patched_model` leaves weights, flags, modules and hooks as they were, also when what it surrounds fails."""
    lm = bench.source.pristine()
    before, plain = fingerprint(lm), _plain(bench, lm, users)
    bench.ask(personalizer, users, lm)
    assert fingerprint(lm) == before, "answering changed the model: weights, flags, modules or hooks"
    try:
        with personalizer.patched_model(lm):
            raise KeyError
    except KeyError:
        pass
    assert fingerprint(lm) == before, "patched_model does not restore the model when an exception passes through"
    assert _plain(bench, lm, users) == plain, "the plain model answers differently after patched_model"


def check_save_and_load(bench: Bench, personalizer: Personalizer, users: Sequence[User], answers: list[str]) -> None:
    """What is loaded answers as what was saved; only JSON and safetensors are written."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    personalizer.save(folder)
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors"}, f"save wrote {sorted(kinds)}; only JSON and safetensors are safe to load"
    loaded = type(bench.method)(bench.method.config).load(folder, bench.task)
    assert prompts(loaded, users) == prompts(personalizer, users), "prompts differ after save and load"
    assert bench.ask(loaded, users) == answers, "answers differ after save and load"
    served, expected = ([one.serves(query) for query in toy_queries(users)] for one in (loaded, personalizer))
    assert served == expected, "serves differs after save and load"


def check_seed_and_checkpoints(bench: Bench, users: Sequence[User], answers: list[str], whole: float) -> None:
    """The same seed gives the same answers; checkpoints change nothing about the fit, which lasts `whole` seconds.

    Each checkpoint can be loaded and answers.
    """
    personalizer, context, _ = bench.fit(users, marks=tuple(whole * 2.0**power for power in range(-10, 0)))
    now = bench.ask(personalizer, users)
    if now != answers:  # a third fit tells which of the two it is
        again = bench.ask(bench.fit(users)[0], users)
        assert again == answers, f"a second fit with the same seed answers {again}, the first {answers}"
        raise AssertionError(f"a fit with checkpoints answers {now}, the same fit without them {answers}")
    assert context.checkpoints is not None
    lm = bench.source.pristine()
    for point, folder in context.checkpoints.points:
        assert point.samples_used >= 0, f"a checkpoint was offered after {point.samples_used} samples"
        loaded = type(bench.method)(bench.method.config).load(folder, bench.task)
        assert len(bench.ask(loaded, users, lm)) == len(users)


def check_privacy(bench: Bench, users: Sequence[User], answers: list[str], shares_users: bool) -> None:
    """A word of one user's history reaches no other user's prompt; if users are not shared, no other answer changes."""
    marked = [_with_canary(users[0], bench.task), *users[1:]]
    personalizer, _, _ = bench.fit(marked)
    others = prompts(personalizer, marked[1:], marked)
    assert not any(CANARY in prompt for prompt in others), "a word of one user's history is in another user's prompt"
    if not shares_users:
        now = bench.ask(personalizer, marked)[1:]
        assert now == answers[1:], f"another user's history changed answers from {answers[1:]} to {now}"


def check_clock(bench: Bench) -> None:
    """Any budget, and no users at all, end in a personalizer that answers; no fit is late.

    A fit may be late by a step that lasts longer than its budget, since nothing tells so beforehand, and otherwise by
    the tolerance.
    """
    users = toy_users(CROWD, task=bench.task)
    _, _, unhurried = bench.fit(users)
    lm = bench.source.pristine()
    for budget, given in ((NONE, users), (unhurried.elapsed() / 2, users), (AMPLE, [])):
        personalizer, _, clock = bench.fit(given, budget)
        spent = clock.elapsed()
        assert spent - budget <= max(tolerance(budget), clock.longest), (
            f"a budget of {budget:g} s was overrun: the fit took {spent:g} s, and no step of the clock that long"
        )
        assert len(bench.ask(personalizer, users[:2], lm)) == 2


def fingerprint(lm: HuggingFaceModel) -> tuple[Any, ...]:
    """What must not change in a model: modules, weights bit by bit, flags, and the number of hooks."""
    model = lm.model
    modules = [(name, type(module), module.training) for name, module in model.named_modules()]
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
    weights = [
        (name, weight.requires_grad, weight.dtype, weight.detach().cpu().contiguous().view(-1).numpy().tobytes())
        for name, weight in model.named_parameters()
    ]
    return type(model), modules, weights, hooks


def _plain(bench: Bench, lm: HuggingFaceModel, users: Sequence[User]) -> list[str]:
    asked = [bench.task.prompts.base(query.text, ()) for query in toy_queries(users)]
    return lm.generate(asked, bench.task.max_new_tokens)


def _with_canary(user: User, task: Task) -> User:
    def mark(items: tuple[HistoryItem, ...]) -> tuple[HistoryItem, ...]:
        return tuple(replace(item, text=f"{CANARY} {item.text}") for item in items)

    history = mark(user.history)
    return replace(
        user,
        history=history,
        examples=tuple(
            replace(example, query=pair[0], answer=pair[1], history=mark(example.history))
            for example, pair in zip(user.examples, filter(None, map(task.supervise, history)), strict=False)
        ),
    )
