"""What a method does to the model where no preference is asked for: the same neutral questions and texts for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.api import LanguageModel, Personalizer, Query
from harness.running.neutral_texts import NEUTRAL_TEXTS, neutral_text

NEUTRAL = "neutral_nats"  # log p of a neutral text per token, its end included
CHANGED = "neutral_changed"  # 1 where the answer to its question begins otherwise than the model's own, else 0
_BEGINNING = 12  # tokens of an answer; one word that changes, changes all after it


@dataclass(frozen=True)
class Neutral:
    """What was measured on one text: log p per token, and how the answer to its question begins."""

    text: int
    nats: float
    answer: str


def ask(lm: LanguageModel, personalizer: Personalizer, queries: Sequence[Query]) -> list[Neutral | None]:
    """Each query's neutral text under its edits and `lm`'s weights; None where it does not fit the context, or log p is
    no finite number.

    The texts take turns, so that many edits cost no more passes than there are queries, and one no more than there are
    texts. No history and no word of the method is in the prompt.
    """
    edits = personalizer.edits(queries)
    texts = [neutral_text(place) for place in range(len(queries))]
    wanted = list(zip(texts, [-1] * len(queries) if edits is None else edits.rows, strict=True))
    tokens = {text: len(lm.answer_ids(NEUTRAL_TEXTS[text][1])) + 1 for text in dict.fromkeys(texts)}  # the end included
    fitting = {
        text for text, count in tokens.items() if lm.count_tokens(_question(text)) <= lm.room(max(count, _BEGINNING))
    }
    different = [pair for pair in dict.fromkeys(wanted) if pair[0] in fitting]
    found = lm.generate_scored(
        [_question(text) for text, _ in different],
        [[NEUTRAL_TEXTS[text][1]] for text, _ in different],
        _BEGINNING,
        edits and replace(edits, rows=tuple(row for _, row in different)),
    )
    known = {
        (text, row): Neutral(text, float(nats) / tokens[text], answer)
        for (text, row), nats, answer in zip(different, found.log_likelihoods, found.texts, strict=True)
        if nats.isfinite()
    }
    return [known.get(pair) for pair in wanted]


def side_effects(lm: LanguageModel, found: Sequence[Neutral | None]) -> pd.DataFrame:
    """A row per query, not a number for None. `lm` is the model as it is without the method."""
    texts = sorted({one.text for one in found if one is not None})
    plain = dict(zip(texts, lm.generate([_question(text) for text in texts], _BEGINNING), strict=True))
    rows = [(math.nan, math.nan) if one is None else (one.nats, float(one.answer != plain[one.text])) for one in found]
    return pd.DataFrame(rows, columns=[NEUTRAL, CHANGED])


def _question(text: int) -> str:
    return f"Write two sentences about {NEUTRAL_TEXTS[text][0]}. Your answer:"
