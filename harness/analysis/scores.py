"""Per-sample statistics of answers, and what tests need of them: pooling over seeds, alignment of two methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.api import Metric

if TYPE_CHECKING:
    import pandas as pd


_BETWEEN = "\0"  # the answers of seeds that differ


class Measure(Protocol):
    """What intervals and tests need to know of a metric; its statistics stand in `Scores`."""

    @property
    def name(self) -> str:
        """The key of its statistics."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        ...

    @property
    def value(self) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Means of statistics [..., S] to values [...]."""
        ...


@dataclass(frozen=True)
class Scores:
    """Answers to `queries` [n], sorted, by `users` [n], as each metric's statistics [n, S].

    `history_items` [n] is how long the user's history is; None for samples that do not say. `answers` [n] are the
    predictions as text, those of several seeds together where they differ; None where nothing compares them. `unread`
    counts those, of all seeds, that say something, but nothing that the task reads as an answer. `by_seed`
    has the statistics [n, S] of each fit that these are the average of, NaN for queries that it lacks; it is empty for
    a single fit.
    """

    queries: NDArray[Any]
    users: NDArray[Any]
    statistics: Mapping[str, NDArray[np.float64]]
    history_items: NDArray[np.int64] | None = None
    answers: NDArray[Any] | None = None
    unread: Counter[str] = field(default_factory=Counter)
    by_seed: Mapping[int, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)

    @property
    def sole_answer(self) -> str | None:
        """What was answered to every query and by every seed; None where answers differ, are unknown or one alone."""
        if self.answers is None or len(self.queries) < 2:
            return None
        first = str(self.answers[0])
        return first if _BETWEEN not in first and all(answer == first for answer in self.answers) else None

    def values(self, metrics: Sequence[Metric]) -> dict[str, float]:
        """Every metric over all answers."""
        return {metric.name: float(metric.value(self.statistics[metric.name].mean(0))) for metric in metrics}


def score(samples: pd.DataFrame, metrics: Sequence[Metric]) -> Scores:
    """Statistics of one cell, from the `prediction` and `gold` columns of its samples."""
    samples = samples.sort_values("query_id", kind="stable")
    pairs = list(zip(samples["prediction"].fillna("").astype(str), samples["gold"].astype(str), strict=True))
    distinct = {pair: index for index, pair in enumerate(dict.fromkeys(pairs))}
    rows = [distinct[pair] for pair in pairs]
    statistics = {
        metric.name: np.array([metric.statistics(*pair) for pair in distinct], dtype=np.float64)[rows]
        for metric in metrics
    }
    items = samples["history_items"].to_numpy(np.int64) if "history_items" in samples else None
    answers = np.array([prediction for prediction, _ in pairs], dtype=object)
    unread = Counter(filter(None, answers[~samples["parsed"].to_numpy(bool)])) if "parsed" in samples else Counter()
    queries, users = samples["query_id"].to_numpy(str), samples["user_id"].to_numpy(str)
    return Scores(queries, users, statistics, items, answers, unread)


def pool(seeds: Mapping[int, Scores]) -> Scores:
    """Average over seeds per query; a query that some seeds lack is averaged over the others."""
    fits = list(seeds.values())
    if len(fits) == 1:
        return fits[0]
    every = np.concatenate([scores.queries for scores in fits])
    queries, first, index = np.unique(every, return_index=True, return_inverse=True)
    by_seed = {seed: _over(queries, scores) for seed, scores in seeds.items()}
    statistics = {name: np.nanmean([own[name] for own in by_seed.values()], axis=0) for name in fits[0].statistics}
    lengths = [scores.history_items for scores in fits if scores.history_items is not None]
    items = np.concatenate(lengths)[first] if len(lengths) == len(fits) else None
    users = np.concatenate([scores.users for scores in fits])[first]
    unread = sum((scores.unread for scores in fits), Counter[str]())
    return Scores(queries, users, statistics, items, _pooled_answers(fits, index, len(queries)), unread, by_seed)


def _over(queries: NDArray[Any], scores: Scores) -> dict[str, NDArray[np.float64]]:
    """Statistics of all `queries`, NaN where there is no answer."""
    places, found = np.searchsorted(queries, scores.queries), {}
    for name, answered in scores.statistics.items():
        found[name] = np.full((len(queries), answered.shape[1]), np.nan)
        found[name][places] = answered
    return found


def _pooled_answers(seeds: Sequence[Scores], index: NDArray[Any], queries: int) -> NDArray[Any] | None:
    """The distinct answers to each query in the order of the seeds, as one object per query."""
    texts = [text for scores in seeds if scores.answers is not None for text in scores.answers]
    if len(texts) < len(index):
        return None
    given: list[dict[Any, None]] = [{} for _ in range(queries)]
    for place, text in zip(index, texts, strict=True):
        given[place][text] = None
    pooled = np.empty(queries, dtype=object)
    pooled[:] = [next(iter(own)) if len(own) == 1 else _BETWEEN.join(own) for own in given]
    return pooled


def align(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """Both on the queries that both answered; empty if there is none."""
    _, in_a, in_b = np.intersect1d(a.queries, b.queries, return_indices=True)
    return take(a, in_a), take(b, in_b)


def take(scores: Scores, rows: NDArray[Any]) -> Scores:
    """Some of the answers, by index or by mask."""
    statistics = {name: array[rows] for name, array in scores.statistics.items()}
    items = None if scores.history_items is None else scores.history_items[rows]
    answers = None if scores.answers is None else scores.answers[rows]
    by_seed = {seed: {name: one[rows] for name, one in own.items()} for seed, own in scores.by_seed.items()}
    return Scores(scores.queries[rows], scores.users[rows], statistics, items, answers, by_seed=by_seed)
