"""All paired tests of a comparison, with Holm's correction, and who ties with the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.analysis import stats
from harness.analysis.comparison import ALPHA, BASELINE, PairTest, Ranking, Row
from harness.analysis.scores import Scores, align
from harness.api import Metric

Metrics = Mapping[str, Sequence[Metric]]


@dataclass(frozen=True)
class Entry:
    """A row, and the scores it was made from; None where there are no answers."""

    row: Row
    scores: Scores | None


def run_tests(entries: Sequence[Entry], metrics: Metrics, others: bool = True) -> list[PairTest]:
    """Every method against instruct and, with `others`, every pair of the others: the best is not known beforehand."""
    against, among = [], []
    for a, b in combinations([entry for entry in entries if entry.scores is not None], 2):
        if a.row.task != b.row.task:
            continue
        if BASELINE in (a.row.label, b.row.label):
            against.append((b, a) if a.row.label == BASELINE else (a, b))
        elif others:
            among.append((a, b))
    return [*_family(against, metrics), *_family(among, metrics)]


def rank(entries: Sequence[Entry], tests: Sequence[PairTest], metrics: Metrics) -> list[Ranking]:
    """The best row of each task by each metric, the cheaper of two equals, and the rows that tie with it."""
    rankings = []
    for task in dict.fromkeys(entry.row.task for entry in entries):
        rows = [e.row for e in entries if e.row.task == task and e.row.ranks]
        for metric in metrics[task] if rows else ():
            sign = -1 if metric.higher_is_better else 1
            best = min(rows, key=lambda row: (sign * row.metrics[metric.name], row.fit_seconds)).label
            told_apart = {
                frozenset((test.a, test.b))
                for test in tests
                if test.task == task and test.metric == metric.name and test.p_holm < ALPHA
            }
            others = [row.label for row in rows if row.label != best]
            tied = [label for label in others if frozenset((best, label)) not in told_apart]
            rankings.append(Ranking(task=task, metric=metric.name, best=best, tied=tied))
    return rankings


def _family(pairs: Sequence[tuple[Entry, Entry]], metrics: Metrics) -> list[PairTest]:
    """Tests that share one Holm correction."""
    size = sum(len(metrics[a.row.task]) for a, _ in pairs)
    tests = [test for a, b in pairs for metric in metrics[a.row.task] for test in _pair(a, b, metric, size)]
    adjusted = stats.holm([test.p for test in tests])
    return [test.model_copy(update={"p_holm": p}) for test, p in zip(tests, adjusted, strict=True)]


def _pair(a: Entry, b: Entry, metric: Metric, size: int) -> list[PairTest]:
    """The test of two rows, or none if they share no query."""
    if a.scores is None or b.scores is None:
        return []
    ours, theirs = align(a.scores, b.scores)
    if not len(ours.queries):
        return []
    x, y = ours.statistics[metric.name], theirs.statistics[metric.name]
    result = stats.paired_test(x, y, ours.users, metric.value)
    detectable = stats.minimum_detectable_difference(x, y, ours.users, metric.value, alpha=ALPHA / size)
    effect = stats.effect_size(x, y, ours.users, metric.value)
    test = PairTest(
        task=a.row.task,
        metric=metric.name,
        a=a.row.label,
        b=b.row.label,
        difference=result.difference,
        p=result.p,
        p_holm=result.p,
        queries=len(ours.queries),
        users=result.users,
        minimum_detectable=detectable if math.isfinite(detectable) else None,
        effect_size=effect if math.isfinite(effect) else None,
        identical=bool((x == y).all()),
        tests=size,
    )
    return [test]
