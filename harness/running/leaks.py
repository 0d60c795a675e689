"""Items of a history that give an evaluated query, or its answer, away."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from harness.api import HistoryItem, Query, TaskData


class LeakSearch:
    """What one history gives away: its texts are normalized once, however much is asked about it."""

    def __init__(self, history: Sequence[HistoryItem]) -> None:
        self._items = [(item, _normal(item.text)) for item in history]

    def find(self, query: Query, gold: str) -> list[str]:
        """Ids of the items whose text is the query's, or is the gold answer: the same words, whatever is between them.

        A labelled item is compared with the query only: that its label is the gold is what a method is meant to learn
        from.
        """
        asked, answer = _normal(query.text), _normal(gold)
        return [item.id for item, text in self._items if text == asked or (text == answer and not item.label)]


def find_leaks(data: TaskData, queries: Sequence[Query]) -> Iterator[tuple[Query, list[str]]]:
    """The queries, user by user, each with what `LeakSearch.find` finds in its user's history."""
    asked: dict[str, list[Query]] = {}
    for query in queries:
        asked.setdefault(query.user, []).append(query)
    for user, own in asked.items():
        search = LeakSearch(data.histories[user])
        for query in own:
            yield query, search.find(query, data.golds[query.id])


def _normal(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"\w+", folded) if folded.isascii() else _words(folded)
    return " ".join(words or folded.split())  # of emoji alone, the emoji


def _words(text: str) -> list[str]:
    """Runs of letters, digits and the marks on them, such as vowels of Indic scripts, which `\\w` does not match."""
    kept, inside = [], False
    for char in text:
        inside = char.isalnum() or char == "_" or (inside and unicodedata.category(char)[0] == "M")
        kept.append(char if inside else " ")
    return "".join(kept).split()
