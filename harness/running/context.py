"""What a method gets to fit with: the engine's implementation of `FitContext`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import Clock, Example, FitReport, HistoryItem, LanguageModel, Personalizer, Regime, Reserve, Task, User
from harness.running.checkpoints import Checkpoints
from harness.running.history import drop_least_representative

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    report: FitReport = field(default_factory=FitReport)
    checkpoints: Checkpoints | None = None

    def examples(self, batch_size: int, reserve: Reserve = 0.0) -> Iterator[list[Example]]:
        """Complete examples in batches: every user's first, then every user's second, ... while the clock has room.

        An example without an input gets the base model's neutral paraphrase of its answer (the phase "paraphrase").
        """
        rounds = zip_longest(*(user.examples for user in self.users))
        flat = [example for group in rounds for example in group if example is not None]
        batches = [flat[start : start + batch_size] for start in range(0, len(flat), batch_size)]
        for batch in self.clock.steps(batches, reserve):
            yield self._complete(batch)

    def shorten(
        self,
        build: Callable[[Sequence[HistoryItem]], str],
        history: Sequence[HistoryItem],
        max_new_tokens: int,
        limit: int | None = None,
    ) -> str:
        """`build(history)` less the items that do not fit; each shortened prompt counts once."""
        prompt, dropped = fit_prompt(self.lm, build, history, max_new_tokens, limit)
        if dropped:
            self.report.counts["prompts_shortened"] = self.report.counts.get("prompts_shortened", 0) + 1
        return prompt

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence embeddings [N, e]."""
        return self.embedder(texts)

    def checkpoint(self, samples: int, make: Callable[[], Personalizer]) -> None:
        """Keep what `make` gives if a mark was passed since the last time."""
        if self.checkpoints is not None:
            self.checkpoints.offer(samples, make)

    def _complete(self, batch: list[Example]) -> list[Example]:
        open_examples = [example for example in batch if example.query is None]
        if not open_examples:
            return batch
        with self.clock.phase("paraphrase"):
            prompts = [self._paraphrase_prompt(example) for example in open_examples]
            outputs = self.lm.generate(prompts, self.task.max_new_tokens, one_line=True)
        paraphrases = iter(self.task.parse(output)[0] for output in outputs)
        return [replace(example, query=next(paraphrases)) if example.query is None else example for example in batch]

    def _paraphrase_prompt(self, example: Example) -> str:
        prompts = self.task.prompts
        return self.shorten(
            lambda history: prompts.neutral(example.answer, history, prompts.generic_insight),
            example.history,
            self.task.max_new_tokens,
        )


def fit_prompt(
    lm: LanguageModel,
    build: Callable[[Sequence[HistoryItem]], str],
    history: Sequence[HistoryItem],
    max_new_tokens: int,
    limit: int | None = None,
) -> tuple[str, int]:
    """(prompt, items dropped): the least representative items go until the prompt fits or no history is left."""
    room = lm.room(max_new_tokens)
    room = room if limit is None else min(room, limit)
    kept = tuple(history)
    prompt = build(kept)
    while kept and lm.count_tokens(prompt) > room:
        kept = drop_least_representative(kept)
        prompt = build(kept)
    return prompt, len(history) - len(kept)
