"""Retrieval: the items of a user's whole history, by how relevant they are to what is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import bm25s
import numpy as np
from numpy.typing import NDArray

from harness.api import HistoryItem, OutOfTime, Query, Retrieval
from harness.running.history import by_recency, take, to_digits

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets its own to DEBUG, and reports every index

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # N texts to [N, e]

_AT_ONCE = 16  # texts embedded between two looks at the clock


class Bm25:
    """BM25 as Lucene has it (k1 = 1.5, b = 0.75) over the words of texts, case folded, of two characters and more.

    No stop words: a text may be in any language, and words that most items have weigh little anyway.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        words = _words(texts)
        self._index = bm25s.BM25() if any(words) else None  # it cannot take texts without any word
        if self._index is not None:
            self._index.index(words, show_progress=False)

    def scores(self, text: str) -> NDArray[np.float64]:
        """How relevant each text is to this one, [N]; 0 for those that have no word of it."""
        [asked] = _words([text])
        if self._index is None or not asked:
            return np.zeros(self._size)
        return np.asarray(self._index.get_scores(asked), np.float64)


def _words(texts: Sequence[str]) -> list[list[str]]:
    return bm25s.tokenize(list(texts), stopwords=[], return_ids=False, show_progress=False)


@dataclass
class HistorySearch:
    """Implements `harness.api.HistorySearch` over `whole`, by user id; of users not in it there is no history.

    `remembers` the embeddings of what it was asked for. A search that fits share must not: the first would pay for all.
    """

    embed: Embed
    whole: Mapping[str, Sequence[HistoryItem]] = field(default_factory=dict)
    remembers: bool = True
    _bm25: dict[str, Bm25] = field(default_factory=dict)
    _embeddings: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    _asked: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def index(self, user: str, by: Retrieval, time_left: Callable[[], float] | None = None) -> int:
        """Prepare searches of one user's history; returns how many items it has. Raises OutOfTime at the deadline."""
        texts = [item.text for item in self.whole.get(user, ())]
        if by == "bm25" and user not in self._bm25:
            self._bm25[user] = Bm25(texts)
        if by == "dense" and texts and user not in self._embeddings:
            self._embeddings[user] = self._embedded(texts, time_left)
        return len(texts)

    def _embedded(self, texts: Sequence[str], time_left: Callable[[], float] | None) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), _AT_ONCE):
            if time_left is not None and time_left() <= 0:
                raise OutOfTime
            parts.append(self.embed(texts[start : start + _AT_ONCE]))
        return np.concatenate(parts)

    def search(self, query: Query, by: Retrieval, k: int) -> tuple[HistoryItem, ...]:
        """The k most relevant items in their original order, each with its rank."""
        return self.most_relevant(query.user, query.text, by, k)

    def most_relevant(
        self, user: str, text: str, by: Retrieval, k: int, without: Collection[int] = ()
    ) -> tuple[HistoryItem, ...]:
        """The k items most relevant to `text`, chosen as if those at the places `without` did not exist.

        Of equally relevant items the earlier is taken.
        """
        items = self.whole.get(user, ())
        kept = [place for place in range(len(items)) if place not in without]
        if not kept:
            return ()
        left = [items[place] for place in kept]
        if by == "recency":
            return take(left, by_recency(left), k)
        scores = self._cosines(user, text)[kept] if by == "dense" else self._words_in_common(user, text, left)
        return take(left, np.argsort(-scores, kind="stable").tolist(), k)

    def _words_in_common(self, user: str, text: str, left: Sequence[HistoryItem]) -> NDArray[np.float64]:
        if len(left) < len(self.whole[user]):  # how rare a word is depends on the items that there are
            return to_digits(Bm25([item.text for item in left]).scores(text))
        self.index(user, "bm25")
        return to_digits(self._bm25[user].scores(text))

    def _cosines(self, user: str, text: str) -> NDArray[np.float64]:
        self.index(user, "dense")
        vector = self._asked[text] if text in self._asked else self.embed([text])[0]
        if self.remembers:
            self._asked[text] = vector
        rows, asked = self._embeddings[user].astype(np.float64), vector.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(asked)
        # Four digits, as everywhere: equal texts tie whatever batch and processor embedded them.
        return np.round(rows @ asked / np.maximum(lengths, np.finfo(np.float64).tiny), 4)
