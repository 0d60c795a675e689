"""Preference likelihood in a comparison: means of what was measured, their intervals, and tests of their own family.

So is what happens to neutral texts and questions, whose tests are a family apart again.

It stands beside the official metrics: no ranking uses it, and its tests share no Holm correction with theirs, so that
whether it is measured changes nothing in what they say.
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

GOLD = "gold_nats"


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
SIDE_EFFECTS = (Mean("neutral_nats", True), Mean("neutral_changed", False))


def likelihoods(samples: pd.DataFrame, measures: Sequence[Mean] = MEASURES) -> Scores | None:
    """What was measured of one cell's queries; None if nothing was. Queries without likelihood are left out."""
    found = [measure for measure in measures if measure.name in samples]
    measured = samples.dropna(subset=[measure.name for measure in found]).sort_values("query_id", kind="stable")
    if not found or measured.empty:
        return None
    statistics = {measure.name: measured[[measure.name]].to_numpy(np.float64) for measure in found}
    return Scores(measured["query_id"].to_numpy(str), measured["user_id"].to_numpy(str), statistics)


def measured(entries: Sequence[Entry]) -> dict[str, list[Mean]]:
    """Which measures each task has."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        for scores in (entry.likelihood, entry.neutral):
            if scores is not None:
                found.setdefault(entry.row.task, set()).update(scores.statistics)
    both = (*MEASURES, *SIDE_EFFECTS)
    return {task: [measure for measure in both if measure.name in names] for task, names in found.items()}


def with_likelihood(entries: Sequence[Entry], others: bool = True) -> tuple[list[Entry], list[PairTest]]:
    """(the entries with `row.likelihood` filled in, the tests); `others` as for `run_tests`."""
    found = measured(entries)
    gold, neutral = (
        {task: [measure for measure in own if measure in measures] for task, own in found.items()}
        for measures in (MEASURES, SIDE_EFFECTS)
    )
    tests = [
        *run_tests([replace(entry, scores=entry.likelihood) for entry in entries], gold, others),
        *run_tests([replace(entry, scores=entry.neutral) for entry in entries], neutral, others),
    ]
    return [_filled(entry, tests) for entry in entries], tests


def _filled(entry: Entry, tests: Sequence[PairTest]) -> Entry:
    against = versus_instruct(entry.row, tests)
    found = {
        measure.name: _score(scores, measure, against.get(measure.name))
        for scores, measures in ((entry.likelihood, MEASURES), (entry.neutral, SIDE_EFFECTS))
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
