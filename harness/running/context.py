"""What a method gets to fit with: the engine's implementation of `FitContext`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import (
    Clock,
    Example,
    FitReport,
    HistoryItem,
    HistorySearch,
    LanguageModel,
    Personalizer,
    Query,
    Regime,
    Reserve,
    Retrieval,
    Task,
    User,
)
from harness.running.checkpoints import Checkpoints
from harness.running.history import dropping_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.running.preparation import Selector


@dataclass
class Context:
    """Implements `harness.api.FitContext`. Holds no gold answer of an evaluated query."""

    lm: LanguageModel
    task: Task
    users: Sequence[User]
    regime: Regime
    clock: Clock
    seed: int
    scratch: Path
    embedder: Callable[[Sequence[str]], NDArray[np.float32]]
    search: HistorySearch
    select: Selector
    report: FitReport = field(default_factory=FitReport)
    checkpoints: Checkpoints | None = None

    @property
    def shows_history(self) -> bool:
        """Whether the prompts of evaluated queries may show any history."""
        return self.select.spec.eval_history == "own"

    @property
    def selects_by(self) -> Retrieval | None:
        """By what the run selects a history for each query; None where the selection does not look at what is asked."""
        return self.select.by

    def examples(self, batch_size: int, reserve: Reserve = 0.0) -> Iterator[list[Example]]:
        """Complete examples in batches: every user's first, then every user's second, ... while the clock has room.

        The clock predicts a batch by the tokens of its base prompts. An example without an input gets the base model's
        neutral paraphrase of its answer (the phase "paraphrase"), or is left out (counted) where its answer is too long
        to ask for one, or where the model says nothing.
        """
        rounds = zip_longest(*(user.examples for user in self.users))
        flat = [example for group in rounds for example in group if example is not None]
        for batch in self.clock.batches(flat, batch_size, self._tokens, reserve):
            complete: list[Example] = []
            with self.clock.cut_off():
                complete = self.complete(batch)
            if complete:
                yield complete

    def complete(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with the neutral paraphrases of their answers as queries, where they have none."""
        open_examples = [example for example in examples if example.query is None]
        if not open_examples:
            return list(examples)
        with self.clock.phase("paraphrase"):
            prompts = [self._paraphrase_prompt(example) for example in open_examples]
            asked = [prompt for prompt in prompts if prompt is not None]
            outputs = iter(
                self.lm.generate(asked, self.task.max_new_tokens, one_line=True, time_left=self.clock.time_left)
            )
        found = [None if prompt is None else self.task.parse(next(outputs))[0] for prompt in prompts]
        self._count("examples_too_long", found.count(None))
        self._count("empty_paraphrases", found.count(""))
        queries = iter(query or None for query in found)
        made = [replace(example, query=next(queries)) if example.query is None else example for example in examples]
        return [example for example in made if example.query is not None]

    def example_of(self, user: str, item: HistoryItem) -> Example | None:
        """What one item of the user's history supervises, beside the history selected without it."""
        return self.select.example_of(self.task, user, item)

    def history_for(self, user: User, asked: str) -> tuple[HistoryItem, ...]:
        """What the run selects of the user's history for a question of these words."""
        return self.select.for_query(Query("history", user.id, asked)) if self.selects_by else user.history

    def shorten(
        self,
        build: Callable[[Sequence[HistoryItem]], str],
        history: Sequence[HistoryItem],
        max_new_tokens: int,
        limit: int | None = None,
    ) -> str | None:
        """`build(history)` less the items that do not fit; each shortened prompt counts once."""
        prompt = fit_prompt(self.lm, build, history, max_new_tokens, limit)
        self._count("prompts_shortened", int(prompt.dropped > 0))
        return prompt.text if prompt.fits else None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence embeddings [N, e]."""
        return self.embedder(texts)

    def checkpoint(self, samples: int, make: Callable[[], Personalizer]) -> None:
        """Keep what `make` gives if a mark was passed since the last time."""
        if self.checkpoints is not None:
            self.checkpoints.offer(samples, make)

    def _count(self, name: str, more: int) -> None:
        if more:
            self.report.count(name, more)

    def _tokens(self, example: Example) -> float:
        text = example.answer if example.query is None else example.query
        return self.lm.count_tokens(self.task.prompts.base(text, example.history))

    def _paraphrase_prompt(self, example: Example) -> str | None:
        prompts = self.task.prompts
        return self.shorten(
            lambda history: prompts.neutral(example.answer, history, prompts.generic_insight),
            example.history,
            self.task.max_new_tokens,
        )


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt less the history items that had to go; `fits` is False where it is too long even without history."""

    text: str
    dropped: int
    fits: bool


def fit_prompt(
    lm: LanguageModel,
    build: Callable[[Sequence[HistoryItem]], str],
    history: Sequence[HistoryItem],
    max_new_tokens: int,
    limit: int | None = None,
) -> FittedPrompt:
    """`build(history)` less the least representative items, as few as possible, so that it fits.

    Tokenizes O(log n) prompts of n items, one where all fit: fewer items make no longer prompt.
    """
    room = lm.room(max_new_tokens)
    room = room if limit is None else min(room, limit)
    order = dropping_order(history)

    def prompt(dropped: int) -> str:
        gone = set(order[:dropped])
        return build(tuple(item for place, item in enumerate(history) if place not in gone))

    def fits(dropped: int) -> bool:
        return lm.count_tokens(prompt(dropped)) <= room

    if fits(0):
        return FittedPrompt(prompt(0), 0, True)
    dropped = bisect_left(range(len(history)), True, lo=min(1, len(history)), key=fits)
    return FittedPrompt(prompt(dropped), dropped, dropped < len(history) or (dropped > 0 and fits(dropped)))
