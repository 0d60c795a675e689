"""Retrieval-augmented prompting: the base prompt with the history items that are most relevant to the query."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.api import FitContext, HistoryItem, HistorySearch, Method, Personalizer, Query, Retrieval, Task
from harness.methods.base_prompt import BasePrompt

_FILE = "rag.json"


class RagConfig(BaseModel):
    """`by`: the words in common, the cosine of sentence embeddings, or the date.

    `k`: items in a prompt, None for as many as the run selects for the other methods (`history`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Retrieval = "bm25"
    k: int | None = Field(default=None, ge=1)


class Retrieving(Personalizer):
    """Shows those whom it serves the k items of the whole history that the query finds.

    Others are shown what the run has selected, as the baseline shows it, and so is everybody with `by` None; with k
    None, as many items as that are found.
    """

    by: Retrieval | None
    k: int | None

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        if self.by is None or not self.serves(query):
            return history
        return search.search(query, self.by, len(history) if self.k is None else self.k)


class RetrievedPrompt(Retrieving, BasePrompt):
    """The base prompt with what the query finds; for `users`, who are indexed."""

    def __init__(self, task: Task, by: Retrieval, k: int | None, users: Sequence[str]) -> None:
        self.task = task
        self.by = by
        self.k = k
        self.users = frozenset(users)

    def serves(self, query: Query) -> bool:
        return query.user in self.users

    def save(self, directory: Path) -> None:
        state = {"by": self.by, "k": self.k, "users": sorted(self.users)}
        (directory / _FILE).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")


class Rag(Method):
    """Shows, of a user's whole history, the items that the query finds (RAG).

    Histories are indexed a user at a time, as long as the clock has room for as many items.
    In the regime `unseen` nothing is indexed: the histories to search are those of the users who ask. Nor is anything
    where prompts may show no history: nobody is served.
    """

    Config = RagConfig

    def fit(self, context: FitContext) -> Personalizer:
        indexed: dict[str, int] = {}
        to_index = context.users if context.regime == "seen" and context.shows_history else []

        def personalizer() -> Personalizer:
            return self._personalizer(context.task, list(indexed))

        with context.clock.phase("index"):
            for [user] in context.clock.batches(to_index, 1, lambda user: context.search.index(user.id, "recency")):
                with context.clock.cut_off():
                    if items := context.search.index(user.id, self.config.by, context.clock.time_left):
                        indexed[user.id] = items
                context.checkpoint(sum(indexed.values()), personalizer)
        context.report.users_fitted = len(indexed)
        context.report.samples_used = sum(indexed.values())
        return personalizer()

    def _personalizer(self, task: Task, users: Sequence[str]) -> Personalizer:
        return RetrievedPrompt(task, self.config.by, self.config.k, users)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return RetrievedPrompt(task, **json.loads((directory / _FILE).read_text(encoding="utf-8")))
