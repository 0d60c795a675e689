"""What of an answer is the question's, and what the user's own: ROUGE counts words alike, whoever chose them.

Where a question is to be reworded, most words of the gold answer stand in it already. Then who repeats the question
scores well, and so does whoever comes nearer to that, without knowing anything about the user.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import Any

OWN = "own_words"  # F1 of answer and gold answer over the words that the question does not have
COPIED = "copied"  # share of the answer's words that the question has


def own_words(question: str, answer: str, gold: str) -> dict[str, float]:
    """Both of one answer, words as ROUGE takes them; `own_words` is not a number where the gold has none of its own.

    An answer without words has and copies nothing.
    """
    asked = set(_words(question))
    said, meant = Counter(_words(answer)), Counter(_words(gold))
    said_own, meant_own = (Counter({w: n for w, n in words.items() if w not in asked}) for words in (said, meant))
    found = (said_own & meant_own).total()
    return {
        OWN: 2 * found / (said_own.total() + meant_own.total()) if meant_own else math.nan,
        COPIED: 1 - said_own.total() / said.total() if said else 0.0,
    }


def _words(text: str) -> list[str]:
    return _tokenizer().tokenize(text)


@cache
def _tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # takes seconds; closed answers need none

    return DefaultTokenizer(use_stemmer=False)
