"""Preference likelihood: how probable a user's gold answer is to the model that answers, and its likeliest label.

Under the prompt, edits and weights with which the query is answered: the prompt is read once for both. Of a closed set
of answers every label is passed, which gives the gold answer's likelihood along the way. Only the engine sees golds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from harness.api import LanguageModel, Query, Task
from harness.running.context import FittedPrompt

GOLD = "gold_nats"  # log p of the gold answer per token, its end included
LABEL = "likely_label"  # the label of the highest log p in all
ACCURACY = "label_accuracy"  # whether that is the gold one
MAE = "label_mae"  # how far it is from the gold one, where labels are numbers


@dataclass
class Cost:
    """What measuring took, which is not among what answering costs."""

    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0

    @contextmanager
    def of(self, lm: LanguageModel) -> Iterator[None]:
        """Add what is done inside."""
        begun, read, written = time.monotonic(), lm.tokens_in, lm.tokens_out
        yield
        self.seconds += time.monotonic() - begun
        self.tokens_in += lm.tokens_in - read
        self.tokens_out += lm.tokens_out - written


@dataclass(frozen=True)
class Likelihood:
    """What was measured. `samples` has a row per query, in their order; not a number where nothing could be."""

    samples: pd.DataFrame
    cost: Cost

    @property
    def means(self) -> dict[str, float]:
        """The mean of each number over the queries that have it; empty where none has."""
        found = self.samples.select_dtypes("number").mean()
        return {str(name): float(mean) for name, mean in found.items() if math.isfinite(mean)}

    @property
    def queries(self) -> int:
        """How many queries could be measured."""
        return int(self.samples[GOLD].notna().sum())


def candidates(
    lm: LanguageModel,
    task: Task,
    queries: Sequence[Query],
    prompts: Mapping[str, FittedPrompt],
    golds: Mapping[str, str],
) -> dict[str, list[str]]:
    """The answers to score, by query: a closed set's labels in their order, and a gold answer that is none of them.

    Without the queries whose prompts do not fit, or leave no room for the gold answer or for a label.
    """
    answers = {query.id: _answers(task, golds[query.id]) for query in queries}
    return {query.id: answers[query.id] for query in queries if _fits(lm, prompts[query.id], answers[query.id])}


def gold_likelihood(
    lm: LanguageModel,
    task: Task,
    queries: Sequence[Query],
    golds: Mapping[str, str],
    scored: Mapping[str, Tensor],
) -> pd.DataFrame:
    """A row per query. `scored`: log p of the candidates of each query that the model answered, in nats.

    A query without has no numbers.
    """
    ordinal = bool(task.labels) and all(map(_is_number, (*task.labels, *(golds[query.id] for query in queries))))
    return pd.DataFrame([_row(lm, task, golds[query.id], scored.get(query.id), ordinal) for query in queries])


def _answers(task: Task, gold: str) -> list[str]:
    return [*task.labels, *([] if gold in task.labels else [gold])]


def _fits(lm: LanguageModel, prompt: FittedPrompt, answers: Sequence[str]) -> bool:
    longest = max(len(lm.answer_ids(answer)) for answer in answers) + 1  # and the end
    return prompt.fits and lm.count_tokens(prompt.text) <= lm.room(longest)


def _row(
    lm: LanguageModel, task: Task, gold: str, totals: Tensor | None, ordinal: bool
) -> dict[str, float | str | None]:
    tokens = len(lm.answer_ids(gold)) + 1
    nats = math.nan if totals is None else float(totals[_answers(task, gold).index(gold)]) / tokens
    row: dict[str, float | str | None] = {GOLD: nats}
    if not task.labels:
        return row
    # Of equal ones the first of the task's order, whatever the gold answer is.
    label = None if totals is None else task.labels[int(totals[: len(task.labels)].argmax())]
    row |= {LABEL: label, ACCURACY: math.nan if label is None else float(label == gold)}
    if ordinal:
        row[MAE] = math.nan if label is None else abs(float(label) - float(gold))
    return row


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
