"""Preference likelihood: how probable a user's gold answer is to the model that answers, and its likeliest label.

One forward pass per query over prompt and gold answer, under the prompt, edits and weights with which the query was
answered. Of a closed set of answers every label is passed, which gives the gold answer's likelihood along the way. A
neutral text is measured beside it, to see what the method does to the model where it should do nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.api import Adapters, Edits, LanguageModel, Personalizer, Query, Task
from harness.running.context import FittedPrompt
from harness.running.side_effects import neutral_nats

GOLD = "gold_nats"  # log p of the gold answer per token, its end included
LABEL = "likely_label"  # the label of the highest log p in all
ACCURACY = "label_accuracy"  # whether that is the gold one
MAE = "label_mae"  # how far it is from the gold one, where labels are numbers
NEUTRAL = "neutral_nats"  # log p of a neutral text per token, its end included


@dataclass(frozen=True)
class Likelihood:
    """What was measured. `samples` has a row per query, in their order; not a number where nothing could be."""

    samples: pd.DataFrame
    seconds: float
    tokens: int

    @property
    def means(self) -> dict[str, float]:
        """The mean of each number over the queries that have it; empty where none has."""
        found = self.samples.select_dtypes("number").mean()
        return {str(name): float(mean) for name, mean in found.items() if math.isfinite(mean)}

    @property
    def queries(self) -> int:
        """How many queries could be measured."""
        return int(self.samples[GOLD].notna().sum())


def measure(
    lm: LanguageModel,
    task: Task,
    personalizer: Personalizer | None,
    queries: Sequence[Query],
    prompts: Mapping[str, FittedPrompt],
    golds: Mapping[str, str],
) -> Likelihood:
    """Measure what `personalizer` gives to `queries`, as `lm` is now, patched; None if it answers without the model.

    A query has no numbers where its prompt does not fit, or leaves no room for the gold answer or for a label. Only the
    engine sees the golds: the personalizer is asked for the edits of the queries, as for an answer.
    """
    begun, tokens = time.monotonic(), lm.tokens_in
    answers = {query.id: _answers(task, golds[query.id]) for query in queries}
    chosen = [] if personalizer is None else [q for q in queries if _fits(lm, prompts[q.id], answers[q.id])]
    totals = _totals(lm, personalizer, chosen, prompts, answers) if personalizer and chosen else {}
    ordinal = bool(task.labels) and all(map(_is_number, (*task.labels, *(golds[query.id] for query in queries))))
    rows = [_row(lm, task, answers[q.id], golds[q.id], totals.get(q.id), ordinal) for q in queries]
    samples = pd.DataFrame(rows).assign(**{NEUTRAL: neutral_nats(lm, personalizer, queries)})
    return Likelihood(samples, time.monotonic() - begun, lm.tokens_in - tokens)


def _answers(task: Task, gold: str) -> list[str]:
    """The labels of a closed set, in their order, and the gold answer if it is none of them."""
    return [*task.labels, *([] if gold in task.labels else [gold])]


def _fits(lm: LanguageModel, prompt: FittedPrompt, answers: Sequence[str]) -> bool:
    longest = max(len(lm.answer_ids(answer)) for answer in answers) + 1  # and the end
    return prompt.fits and lm.count_tokens(prompt.text) <= lm.room(longest)


def _totals(
    lm: LanguageModel,
    personalizer: Personalizer,
    queries: Sequence[Query],
    prompts: Mapping[str, FittedPrompt],
    answers: Mapping[str, list[str]],
) -> dict[str, NDArray[np.float64]]:
    """Log p of each answer to each query, in nats, its end included."""
    counts = [len(answers[query.id]) for query in queries]
    found = lm.log_likelihood(
        [prompts[query.id].text for query, count in zip(queries, counts, strict=True) for _ in range(count)],
        [answer for query in queries for answer in answers[query.id]],
        _repeated(personalizer.edits(queries), counts),
    )
    parts = np.split(found.double().numpy(), np.cumsum(counts)[:-1])
    return {query.id: part for query, part in zip(queries, parts, strict=True)}


def _repeated(edits: Edits | Adapters | None, counts: Sequence[int]) -> Edits | Adapters | None:
    if edits is None:
        return None
    return replace(edits, rows=tuple(row for row, count in zip(edits.rows, counts, strict=True) for _ in range(count)))


def _row(
    lm: LanguageModel,
    task: Task,
    answers: Sequence[str],
    gold: str,
    totals: NDArray[np.float64] | None,
    ordinal: bool,
) -> dict[str, float | str | None]:
    nats = math.nan if totals is None else totals[answers.index(gold)] / (len(lm.answer_ids(gold)) + 1)
    row: dict[str, float | str | None] = {GOLD: float(nats)}
    if not task.labels:
        return row
    # Of equal ones the first of the task's order, whatever the gold answer is.
    label = None if totals is None else task.labels[int(np.argmax(totals[: len(task.labels)]))]
    row |= {LABEL: label, ACCURACY: math.nan if label is None else float(label == gold)}
    if ordinal:
        row[MAE] = math.nan if label is None else abs(float(label) - float(gold))
    return row


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
