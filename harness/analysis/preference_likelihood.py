"""What is measured beside the official metrics: means, their intervals, and tests.

Preference likelihood, what happens to neutral texts and questions, and the words of the user's own. No ranking uses
them, and the tests of each share no Holm correction with others, so that whether it is measured changes nothing in what
these say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harness.analysis import stats
from harness.analysis.comparison import LikelihoodScore, PairTest, VsInstruct
from harness.analysis.paired_tests import Entry, run_tests, versus_instruct
from harness.analysis.scores import Scores
from harness.running.neutral_texts import neutral_text
from harness.running.own_words import COPIED, OWN
from harness.running.side_effects import CHANGED, NEUTRAL

GOLD = "gold_nats"  # as `harness.running.gold_likelihood` has it, which imports torch


@dataclass(frozen=True)
class Mean:
    """The mean of one number per query, under the name of its column in the samples."""

    name: str
    higher_is_better: bool

    @staticmethod
    def value(means: stats.Floats) -> stats.Floats:
        """Means [..., 1] to values [...]."""
        return means[..., 0]


MEASURES = (Mean(GOLD, True), Mean("label_accuracy", True), Mean("label_mae", False))
SIDE_EFFECTS = (Mean(NEUTRAL, True), Mean(CHANGED, False))
WORDS = (Mean(OWN, True), Mean(COPIED, False))
GROUPS = (MEASURES, SIDE_EFFECTS, WORDS)
BESIDE = {measure.name for group in GROUPS for measure in group}
_DRAWN = "drawn"  # what stands for others that might have been drawn: a user, or a text


def read_measures(samples: pd.DataFrame) -> tuple[Scores | None, ...]:
    """Of each group, what was measured of one cell's queries; None if nothing was."""
    return tuple(_scores(samples, group) for group in GROUPS)


def _scores(samples: pd.DataFrame, measures: Sequence[Mean]) -> Scores | None:
    """Queries without a number are left out. Of neutral texts the sample are the texts, which take turns."""
    found = [measure for measure in measures if measure.name in samples]
    drawn = [neutral_text(place) for place in range(len(samples))] if measures is SIDE_EFFECTS else samples["user_id"]
    measured = samples.assign(**{_DRAWN: drawn})
    measured = measured.dropna(subset=[measure.name for measure in found]).sort_values("query_id", kind="stable")
    if not found or measured.empty:
        return None
    statistics = {measure.name: measured[[measure.name]].to_numpy(np.float64) for measure in found}
    return Scores(measured["query_id"].to_numpy(str), measured[_DRAWN].to_numpy(str), statistics)


def measured(entries: Sequence[Entry]) -> dict[str, list[Mean]]:
    """Which measures each task has."""
    return {
        task: found
        for task in dict.fromkeys(entry.row.task for entry in entries)
        if (found := [measure for place in range(len(GROUPS)) for measure in _of(entries, place).get(task, ())])
    }


def _of(entries: Sequence[Entry], place: int) -> dict[str, list[Mean]]:
    """Which measures of one group each task has."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        if (scores := entry.measured[place]) is not None:
            found.setdefault(entry.row.task, set()).update(scores.statistics)
    return {task: [measure for measure in GROUPS[place] if measure.name in names] for task, names in found.items()}


def with_measures(entries: Sequence[Entry], others: bool = True) -> tuple[list[Entry], list[PairTest]]:
    """(the entries with `row.likelihood` filled in, the tests); `others` as for `run_tests`."""
    tests = [
        test
        for place in range(len(GROUPS))
        for test in run_tests(
            [replace(entry, scores=entry.measured[place]) for entry in entries], _of(entries, place), others
        )
    ]
    return [_filled(entry, tests) for entry in entries], tests


def _filled(entry: Entry, tests: Sequence[PairTest]) -> Entry:
    against = versus_instruct(entry.row, tests)
    found = {
        measure.name: _score(scores, measure, against.get(measure.name))
        for scores, measures in zip(entry.measured, GROUPS, strict=True)
        for measure in measures
        if scores is not None and measure.name in scores.statistics
    }
    return replace(entry, row=entry.row.model_copy(update={"likelihood": found}))


def _score(scores: Scores, measure: Mean, against: VsInstruct | None) -> LikelihoodScore:
    statistics = scores.statistics[measure.name]
    bounds = stats.interval(statistics, scores.users, measure.value)
    return LikelihoodScore(
        value=float(measure.value(statistics.mean(0))),
        interval=bounds if math.isfinite(bounds[0]) else None,
        queries=len(scores.queries),
        vs_instruct=against,
    )
