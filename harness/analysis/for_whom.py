"""For whom a method works: the spread of per-user scores, gains over instruct, and scores by length of history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis import stats
from harness.analysis.comparison import HistoryBin, UserScore
from harness.analysis.paired_tests import Entry, Metrics
from harness.analysis.scores import Scores, align, take
from harness.api import Metric
from harness.specs.run_spec import BASELINE

_EDGES = (0, 1, 2, 5, 9, 17, 65)  # least history items of each bin; the last has no end


def distribution(scores: Scores, main: Metric) -> dict[str, Any]:
    """Fields of a row that tell how the users fare by themselves."""
    _, values = stats.per_user(scores.statistics[main.name], scores.users, main.value)
    return {
        "users": len(values),
        "per_user_mean": float(values.mean()),
        "per_user_quartiles": stats.quartiles(values),
        "worst_decile": stats.worst_decile(values, main.higher_is_better),
        "by_history": [_bin(take(scores, rows), main, index) for index, rows in _bins(scores)],
    }


def with_gains(entries: Sequence[Entry], metrics: Metrics) -> list[Entry]:
    """Fill in how the users fare against instruct, where both answered."""
    base = {entry.row.task: entry.scores for entry in entries if entry.row.label == BASELINE}
    return [_against(entry, base.get(entry.row.task), metrics[entry.row.task][0]) for entry in entries]


def user_scores(entries: Sequence[Entry], metrics: Metrics) -> list[UserScore]:
    """Every user under every method of `entries`."""
    base = {entry.row.task: entry.scores for entry in entries if entry.row.label == BASELINE}
    return [
        user
        for entry in entries
        if entry.scores is not None
        for user in _users(entry, entry.scores, base.get(entry.row.task), metrics[entry.row.task][0])
    ]


def _bins(scores: Scores) -> list[tuple[int, NDArray[np.bool_]]]:
    """(index into the edges, mask over the answers) of each bin that is not empty; none if lengths are unknown."""
    if scores.history_items is None:
        return []
    place = np.searchsorted(_EDGES, scores.history_items, side="right") - 1
    return [(int(index), place == index) for index in np.unique(place)]


def _bin(scores: Scores, main: Metric, index: int) -> HistoryBin:
    statistics = scores.statistics[main.name]
    interval = stats.interval(statistics, scores.users, main.value)
    return HistoryBin(
        low=_EDGES[index],
        high=_EDGES[index + 1] - 1 if index + 1 < len(_EDGES) else None,
        users=len(np.unique(scores.users)),
        queries=len(scores.queries),
        value=float(main.value(statistics.mean(0))),
        interval=interval if math.isfinite(interval[0]) else None,
        vs_instruct=None,
    )


def _against(entry: Entry, base: Scores | None, main: Metric) -> Entry:
    if entry.scores is None or base is None:
        return entry
    ours, theirs = align(entry.scores, base)
    if not len(ours.queries):
        return entry
    gains = stats.gains(*_values(ours, theirs, main), main.higher_is_better)
    fields = {
        "regret_rate": float(np.mean(gains < 0)),
        "mean_loss": float(-gains[gains < 0].mean()) if (gains < 0).any() else None,
        "better_rate": float(np.mean(gains > 0)),
        "gain_quartiles": stats.quartiles(gains),
        "by_history": _with_differences(entry.row.by_history, ours, theirs, main),
    }
    return replace(entry, row=entry.row.model_copy(update=fields))


def _values(ours: Scores, theirs: Scores, main: Metric) -> tuple[stats.Floats, stats.Floats]:
    """Per-user values of two aligned scores."""
    a, b = (stats.per_user(scores.statistics[main.name], scores.users, main.value)[1] for scores in (ours, theirs))
    return a, b


def _with_differences(bins: Sequence[HistoryBin], ours: Scores, theirs: Scores, main: Metric) -> list[HistoryBin]:
    differences = {}
    for index, rows in _bins(ours):
        a, b = (main.value(scores.statistics[main.name][rows].mean(0)) for scores in (ours, theirs))
        differences[_EDGES[index]] = float(a - b)
    return [found.model_copy(update={"vs_instruct": differences.get(found.low)}) for found in bins]


def _users(entry: Entry, scores: Scores, base: Scores | None, main: Metric) -> list[UserScore]:
    ids, values = stats.per_user(scores.statistics[main.name], scores.users, main.value)
    _, first, counts = np.unique(scores.users, return_index=True, return_counts=True)
    items = None if scores.history_items is None else scores.history_items[first]
    compared = _compared(scores, base, main)
    return [
        UserScore(
            task=entry.row.task,
            method=entry.row.method,
            variant=entry.row.variant,
            user_id=str(user),
            queries=int(counts[index]),
            history_items=None if items is None else int(items[index]),
            metric=main.name,
            value=float(values[index]),
            instruct=compared.get(str(user), (None, None))[0],
            gain=compared.get(str(user), (None, None))[1],
        )
        for index, user in enumerate(ids)
    ]


def _compared(scores: Scores, base: Scores | None, main: Metric) -> dict[str, tuple[float, float]]:
    """(instruct's value, gain over it) by user."""
    if base is None:
        return {}
    ours, theirs = align(scores, base)
    values, baseline = _values(ours, theirs, main)
    gains = stats.gains(values, baseline, main.higher_is_better)
    users = (str(user) for user in np.unique(ours.users))
    return dict(zip(users, zip(baseline.tolist(), gains.tolist(), strict=True), strict=True))
