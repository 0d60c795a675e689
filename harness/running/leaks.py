"""Items of a history that give an evaluated query, or its answer, away."""

import re
from collections.abc import Sequence

from harness.api import HistoryItem, Query


def find_leaks(history: Sequence[HistoryItem], query: Query, gold: str) -> list[str]:
    """Ids of the items whose text is the query's, or is the gold answer: the same words, whatever is between them.

    A labelled item is compared with the query only: that its label is the gold is what a method is meant to learn from.
    """
    asked, answer = _normal(query.text), _normal(gold)
    return [item.id for item in history if (text := _normal(item.text)) == asked or (text == answer and not item.label)]


def _normal(text: str) -> str:
    folded = text.casefold()
    return " ".join(re.findall(r"\w+", folded) or folded.split())  # of emoji alone, the emoji
