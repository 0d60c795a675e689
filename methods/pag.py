"""PAG (Richardson et al. 2023): a profile of the user, written by the model beforehand, beside what the query finds."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.api import (
    FitContext,
    HistoryItem,
    HistorySearch,
    Personalizer,
    Query,
    Retrieval,
    SummaryStrategy,
    Task,
    User,
)
from harness.methods.llm_rec import LlmRec, Notes

_FILE = "profiles.json"


class PagConfig(BaseModel):
    """`by` and `k` as for rag; with `by` None the prompt shows the run's selection. `strategy`: how to ask for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Retrieval | None = "bm25"
    k: int | None = Field(default=None, ge=1)
    strategy: SummaryStrategy = "profile"
    max_new_tokens: int = Field(default=64, ge=1)
    batch_size: int = Field(default=16, ge=1)


class Profiles(Notes):
    """Puts a user's profile after the base prompt, whose history is retrieved. No profile: the base prompt as it is."""

    def __init__(self, task: Task, notes: dict[str, str], by: Retrieval | None, k: int | None) -> None:
        super().__init__(task, notes, "append")
        self.by: Retrieval | None = by
        self.k = k

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        if self.by is None or not self.serves(query):
            return history
        return search.search(query, self.by, len(history) if self.k is None else self.k)

    def save(self, directory: Path) -> None:
        text = json.dumps({"notes": self.notes, "by": self.by, "k": self.k}, ensure_ascii=False, indent=1)
        (directory / _FILE).write_text(text, encoding="utf-8")


class Pag(LlmRec):
    """Writes a profile of each user into the prompt, beside what the query finds in the history (PAG).

    Users are taken as the clock allows, each with a profile of the selected history and an index of the whole one; the
    profile alone where prompts may show no history.
    In the regime `unseen` no profile is written: the users it could describe are not those who ask.
    """

    Config = PagConfig

    def load(self, directory: Path, task: Task) -> Personalizer:
        return Profiles(task, **json.loads((directory / _FILE).read_text(encoding="utf-8")))

    def _personalizer(self, task: Task, notes: dict[str, str]) -> Personalizer:
        return Profiles(task, notes, self.config.by, self.config.k)

    def _strategies(self) -> tuple[SummaryStrategy, ...]:
        return (self.config.strategy,)

    def _write(self, context: FitContext, users: Sequence[User]) -> dict[str, str]:
        if self.config.by is not None and context.shows_history:
            for user in users:
                context.search.index(user.id, self.config.by, context.clock.time_left)
        return super()._write(context, users)
