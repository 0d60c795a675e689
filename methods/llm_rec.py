"""LLM-REC (Lyu et al. 2024), the paper's prompting baseline: the model writes a note on the user's history first."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.api import FitContext, HistoryItem, Method, Personalizer, Query, SummaryStrategy, Task, User

Strategy = Literal["engagement", "basic", "recommendation", "both"]
Placement = Literal["append", "replace"]

_STRATEGIES: dict[Strategy, tuple[SummaryStrategy, ...]] = {
    "engagement": ("engagement",),
    "basic": ("basic",),
    "recommendation": ("recommendation",),
    "both": ("recommendation", "engagement"),
}
_FILE = "notes.json"


class LlmRecConfig(BaseModel):
    """`both` asks for the recommendation-driven and the engagement-guided note, as Lyu et al. combine them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = "engagement"
    placement: Placement = "append"
    max_new_tokens: int = Field(default=64, ge=1)
    batch_size: int = Field(default=16, ge=1)


class Notes(Personalizer):
    """Puts a user's note after the base prompt, or in place of the history. No note: the base prompt."""

    def __init__(self, task: Task, notes: dict[str, str], placement: Placement) -> None:
        self.task = task
        self.notes = notes
        self.placement = placement

    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        note = self.notes.get(query.user, "")
        replaced = bool(note) and self.placement == "replace"
        return self.task.prompts.base(query.text, () if replaced else history, note=note)

    def bare_prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        return self.task.prompts.base(query.text, history)

    def serves(self, query: Query) -> bool:
        return query.user in self.notes

    def save(self, directory: Path) -> None:
        text = json.dumps({"notes": self.notes, "placement": self.placement}, ensure_ascii=False, indent=1)
        (directory / _FILE).write_text(text, encoding="utf-8")


class LlmRec(Method):
    """Writes a note on each user into the prompt (LLM-REC).

    Users are taken a batch at a time that begins with one, as long as the clock has room.
    In the regime `unseen` no note is written: the users it could describe are not those who ask.
    """

    Config: ClassVar[type[BaseModel]] = LlmRecConfig

    def fit(self, context: FitContext) -> Personalizer:
        notes: dict[str, str] = {}
        users = [user for user in context.users if user.history and context.regime == "seen"]

        def tokens(user: User) -> float:
            return context.lm.count_tokens(context.task.prompts.base("", user.history))

        def personalizer() -> Personalizer:
            return self._personalizer(context.task, notes)

        with context.clock.phase("notes"):
            for batch in context.clock.batches(users, self.config.batch_size, tokens):
                with context.clock.cut_off():
                    notes |= self._write(context, batch)
                context.checkpoint(_items(users, notes), personalizer)
        context.report.users_fitted = len(notes)
        context.report.samples_used = _items(users, notes)
        context.report.counts["users_without_note"] = sum(len(user.history) > 0 for user in context.users) - len(notes)
        return personalizer()

    def _personalizer(self, task: Task, notes: dict[str, str]) -> Personalizer:
        return Notes(task, notes, self.config.placement)

    def _strategies(self) -> tuple[SummaryStrategy, ...]:
        return _STRATEGIES[self.config.strategy]

    def _write(self, context: FitContext, users: Sequence[User]) -> dict[str, str]:
        parts: list[list[str]] = [[] for _ in users]
        for strategy in self._strategies():
            requests = [_request(context, strategy, user, self.config.max_new_tokens) for user in users]
            asked = [request for request in requests if request is not None]
            outputs = context.lm.generate(asked, self.config.max_new_tokens, time_left=context.clock.time_left)
            answered = (part for part, request in zip(parts, requests, strict=True) if request is not None)
            for part, output in zip(answered, outputs, strict=True):
                part.extend(output.split())
        return {user.id: " ".join(part) for user, part in zip(users, parts, strict=True) if part}

    def load(self, directory: Path, task: Task) -> Personalizer:
        saved = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        return Notes(task, saved["notes"], saved["placement"])


def _items(users: Sequence[User], notes: dict[str, str]) -> int:
    return sum(len(user.history) for user in users if user.id in notes)


def _request(context: FitContext, strategy: SummaryStrategy, user: User, max_new_tokens: int) -> str | None:
    return context.shorten(lambda items: context.task.prompts.summary(strategy, items), user.history, max_new_tokens)
