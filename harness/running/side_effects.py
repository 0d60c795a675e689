"""What a method does to the model where no preference is asked for: log p of the same neutral texts for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.api import LanguageModel, Personalizer, Query
from harness.running.neutral_texts import NEUTRAL_TEXTS


def neutral_nats(lm: LanguageModel, personalizer: Personalizer | None, queries: Sequence[Query]) -> list[float]:
    """Of each query, log p per token of one neutral text, its end included, under the query's edits and `lm`'s weights.

    The texts take turns, so that many edits cost no more passes than there are queries, and one no more than there are
    texts. No history and no word of the method is in the prompt. Not a number where `personalizer` is None, or a text
    does not fit the context.
    """
    edits = None if personalizer is None else personalizer.edits(queries)
    texts = [number % len(NEUTRAL_TEXTS) for number in range(len(queries))]
    wanted = list(zip(texts, [-1] * len(queries) if edits is None else edits.rows, strict=True))
    prompts = [f"Write two sentences about {topic}. Your answer:" for topic, _ in NEUTRAL_TEXTS]
    tokens = [len(lm.answer_ids(text)) + 1 for _, text in NEUTRAL_TEXTS]
    different = [
        (text, row)
        for text, row in dict.fromkeys(wanted if personalizer else ())
        if lm.count_tokens(prompts[text]) <= lm.room(tokens[text])
    ]
    if not different:
        return [math.nan] * len(queries)
    found = lm.log_likelihood(
        [prompts[text] for text, _ in different],
        [NEUTRAL_TEXTS[text][1] for text, _ in different],
        edits and replace(edits, rows=tuple(row for _, row in different)),
    )
    known = {pair: total / tokens[pair[0]] for pair, total in zip(different, found.tolist(), strict=True)}
    return [known.get(pair, math.nan) for pair in wanted]
