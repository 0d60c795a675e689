"""Methods that are given other users' data in place of each user's own: what they gain so is nobody's in particular."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from harness.api import FitContext, HistoryItem, HistorySearch, Method, Personalizer, Query, Task, User
from harness.methods.aloe import Aloe
from harness.methods.base_prompt import BasePrompt
from harness.methods.chameleon.method import Chameleon
from harness.methods.dpo import Dpo
from harness.methods.nothing_to_set import NothingToSet
from harness.methods.oppu import Oppu

T = TypeVar("T")
_FILE = "shown.json"


class OthersHistories(BasePrompt):
    """The base prompt with another user's history: what is `shown` to each; nothing where prompts may show none."""

    def __init__(self, task: Task, shown: Mapping[str, Sequence[HistoryItem]]) -> None:
        self.task = task
        self.shown = {user: tuple(items) for user, items in shown.items()}

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        return self.shown.get(query.user, history) if history else history

    def serves(self, query: Query) -> bool:
        return query.user in self.shown

    def save(self, directory: Path) -> None:
        shown = {user: [asdict(item) for item in items] for user, items in self.shown.items()}
        (directory / _FILE).write_text(json.dumps(shown, ensure_ascii=False, indent=1), encoding="utf-8")


class ShuffledPrompt(Method):
    """The model as it is, shown the next user's history in place of the user's own: what is personal in a prompt."""

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        shown = {user.id: donor.history for user, donor in zip(context.users, _next(context.users), strict=True)}
        context.report.users_fitted = len(shown)
        return OthersHistories(context.task, shown)

    def load(self, directory: Path, task: Task) -> Personalizer:
        shown = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        return OthersHistories(task, {user: [HistoryItem(**item) for item in items] for user, items in shown.items()})


class ShuffledHistory(Chameleon):
    """Chameleon fitted with each user's histories exchanged for the next user's; the prompt shows the user's own."""

    control_of = "chameleon"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class ShuffledAloe(Aloe):
    """ALOE-SFT on answers beside the next user's histories: what training gains that is nobody's in particular."""

    control_of = "aloe"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class ShuffledDpo(Dpo):
    """DPO-LoRA that prefers users' answers beside the next user's histories."""

    control_of = "dpo"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class ShuffledOppu(Oppu):
    """OPPU whose users have each the adapter of the next who has one, over the task's.

    A single adapter stays with its user: there is nobody to exchange with.
    """

    control_of = "oppu"

    def _personalizer(self, task: Task, own: Mapping[str, Mapping[str, Tensor]], common: Personalizer) -> Personalizer:
        return super()._personalizer(task, dict(zip(own, _next(list(own.values())), strict=True)), common)


def _shuffled(context: FitContext) -> FitContext:
    """A context in which every user has the history of the next one, paraphrases and the examples' histories included.

    Where the run selects by what is asked, it does so here: only whose history it is may differ. A fit on one user is
    not changed: there is nobody to exchange with.
    """
    donors = _next(context.users)
    shuffled = copy(context)
    with context.clock.phase("selection"):
        shuffled.users = [_with(context, user, donor) for user, donor in zip(context.users, donors, strict=True)]
    return shuffled


def _with(context: FitContext, user: User, donor: User) -> User:
    if donor is user:  # whose examples stand beside a history without them
        return user
    examples = tuple(
        # An input that is not there yet will be a paraphrase of the answer.
        replace(one, history=context.history_for(donor, one.answer if one.query is None else one.query))
        for one in user.examples
    )
    return replace(user, history=donor.history, examples=examples)


def _next(items: Sequence[T]) -> list[T]:
    """What comes after each, the first after the last."""
    return [*items[1:], *items[:1]]
