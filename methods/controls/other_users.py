"""Methods that are given other users' data in place of each user's own: what they gain so is nobody's in particular."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from harness.api import FitContext, HistoryItem, HistorySearch, Method, Personalizer, Query, Retrieval, Task, User
from harness.methods.aloe import Aloe
from harness.methods.base_prompt import BasePrompt
from harness.methods.caa import Differences
from harness.methods.chameleon.method import Chameleon
from harness.methods.chameleon.steering import Steering
from harness.methods.dpo import Dpo
from harness.methods.llm_rec import LlmRec
from harness.methods.nothing_to_set import NothingToSet
from harness.methods.oppu import Oppu
from harness.methods.pag import Pag
from harness.methods.rag import Rag
from harness.methods.style_vector import StyleVector

T = TypeVar("T")
_SHOWN, _DONORS = "shown.json", "donors.json"


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
        (directory / _SHOWN).write_text(json.dumps(shown, ensure_ascii=False, indent=1), encoding="utf-8")


@dataclass
class RetrievedFromOthers(BasePrompt):
    """The base prompt with what the query finds in the history of its user's donor, as many items as in the own.

    `k` as for rag: None for as many items as the run selects.
    """

    task: Task
    donors: dict[str, str]
    by: Retrieval
    k: int | None = None

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        if not self.serves(query):
            return history
        found = len(history) if self.k is None else min(self.k, search.index(query.user, "recency"))
        return search.search(replace(query, user=self.donors[query.user]), self.by, found)

    def serves(self, query: Query) -> bool:
        return query.user in self.donors

    def save(self, directory: Path) -> None:
        state = {"donors": self.donors, "by": self.by, "k": self.k}
        (directory / _DONORS).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    @staticmethod
    def load(directory: Path, task: Task) -> "RetrievedFromOthers":
        """Read what `save` wrote."""
        return RetrievedFromOthers(task, **json.loads((directory / _DONORS).read_text(encoding="utf-8")))


class ShuffledPrompt(Method):
    """The model as it is, shown the next user's history in place of the user's own: what is personal in a prompt.

    Where the run selects by what is asked, the prompt shows what that finds in the next user's history.
    """

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        context.report.users_fitted = len(context.users)
        if context.selects_by is not None:
            return RetrievedFromOthers(context.task, _donors([user.id for user in context.users]), context.selects_by)
        return OthersHistories(context.task, _exchanged({user.id: user.history for user in context.users}))

    def load(self, directory: Path, task: Task) -> Personalizer:
        if (directory / _DONORS).exists():
            return RetrievedFromOthers.load(directory, task)
        shown = json.loads((directory / _SHOWN).read_text(encoding="utf-8"))
        return OthersHistories(task, {user: [HistoryItem(**item) for item in items] for user, items in shown.items()})


class ShuffledRag(Rag):
    """RAG that shows what the query finds in the history of the next user who is indexed."""

    control_of = "rag"

    def _personalizer(self, task: Task, users: Sequence[str]) -> Personalizer:
        return RetrievedFromOthers(task, _donors(users), self.config.by, self.config.k)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return RetrievedFromOthers.load(directory, task)


class ShuffledLlmRec(LlmRec):
    """LLM-REC with the note on the next user who has one in each prompt, beside the user's own history."""

    control_of = "llm_rec"

    def _personalizer(self, task: Task, notes: dict[str, str]) -> Personalizer:
        return super()._personalizer(task, _exchanged(notes))


class ShuffledPag(Pag):
    """PAG with the profile of the next user who has one in each prompt, beside items of the user's own history."""

    control_of = "pag"

    def _personalizer(self, task: Task, notes: dict[str, str]) -> Personalizer:
        return super()._personalizer(task, _exchanged(notes))


class ShuffledStyleVector(StyleVector):
    """StyleVector whose users have each the vector of the next who has one."""

    control_of = "style_vector"

    def _steering(self, context: FitContext, layers: tuple[int, ...], parts: Sequence[Differences]) -> Steering:
        fitted = super()._steering(context, layers, parts)
        return replace(fitted, rows=_exchanged(fitted.rows))


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
        return super()._personalizer(task, _exchanged(own), common)


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


def _donors(users: Sequence[str]) -> dict[str, str]:
    """Of each user the next one."""
    return dict(zip(users, _next(users), strict=True))


def _exchanged(own: Mapping[str, T]) -> dict[str, T]:
    """By user, what the next one has; a single user keeps it, as there is nobody to exchange with."""
    return dict(zip(own, _next(list(own.values())), strict=True))


def _next(items: Sequence[T]) -> list[T]:
    """What comes after each, the first after the last."""
    return [*items[1:], *items[:1]]
