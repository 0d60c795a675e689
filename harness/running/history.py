"""Selection of history items: one selection, shared by all methods and kept off their budgets."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.api import HistoryItem

Selection = Literal["pca", "random", "recency"]


def embedded_text(item: HistoryItem) -> str:
    """What the sentence embedder reads of an item: its text and the user's label."""
    return f"{item.text} {item.label}".strip()


def select(
    items: Sequence[HistoryItem],
    embeddings: NDArray[np.float32],
    k: int,
    strategy: Selection,
    seed: str,
) -> tuple[HistoryItem, ...]:
    """H_u^k: the k most representative items in their original order, each with its rank (0 = most representative).

    `embeddings` is [N, e], a row per item. "pca" is Section 3.1: the largest projection norms on the top k principal
    components; "recency" takes the latest by date, those without one being the oldest, and of equal ones the later in
    the file; "random" draws, seeded by the text `seed`.
    """
    if strategy == "pca":
        order = np.argsort(-to_digits(projection_norms(embeddings, k)), kind="stable").tolist()
    elif strategy == "recency":
        order = by_recency(items)
    else:
        order = random.Random(seed).sample(range(len(items)), len(items))
    return take(items, order, k)


def by_recency(items: Sequence[HistoryItem]) -> list[int]:
    """Places of the items, the latest by date first; those without one are the oldest, of equals the later is first."""
    return sorted(range(len(items)), key=lambda index: items[index].date)[::-1]


def take(items: Sequence[HistoryItem], order: Sequence[int], k: int) -> tuple[HistoryItem, ...]:
    """The first k of the places in `order`, in their original order, each with its place in `order` as its rank."""
    ranks = {index: rank for rank, index in enumerate(order[:k])}
    return tuple(replace(items[index], rank=ranks[index]) for index in sorted(ranks))


def note_on_dates(histories: Iterable[Sequence[HistoryItem]]) -> str:
    """What a reader must know about "recency" where items carry no dates; empty if all do."""
    dates = [item.date for history in histories for item in history]
    undated = dates.count("")
    if not undated:
        return ""
    if undated == len(dates):
        return "recency takes the file's order: items carry no dates"
    return f"recency takes {undated} of {len(dates)} history items for the oldest: they carry no date"


def projection_norms(embeddings: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """||z_u^i|| = ||e_u^i W_u|| after centring, W_u the top k principal components (equations 1 and 2). Returns [N].

    The paper does not say whether embeddings are centred; principal components are defined on centred data.
    """
    if len(embeddings) == 0:
        return np.zeros(0)
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    norms: NDArray[np.float64] = np.linalg.norm(left[:, :k] * singular[:k], axis=1)
    return norms


def to_digits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores, none negative, as shares of the largest, to four digits: equal ones tie on every processor."""
    return np.round(scores / scores.max(initial=np.finfo(np.float64).tiny), 4)


def dropping_order(history: Sequence[HistoryItem]) -> list[int]:
    """Places in `history` in the order in which a prompt loses them: the highest rank first, of equals the earlier."""
    return sorted(range(len(history)), key=lambda place: -history[place].rank)
