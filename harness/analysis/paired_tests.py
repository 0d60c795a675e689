"""All paired tests of a comparison, with Holm's correction, and who ties with the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Paired:
    """What `PairTest` says of two sets of answers, whatever they are called and before Holm."""

    difference: float
    p: float
    queries: int
    users: int
    minimum_detectable: float | None
    effect_size: float | None
    identical: bool


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
    found = paired(a.scores, b.scores, metric, size) if a.scores is not None and b.scores is not None else None
    if found is None:
        return []
    return [
        PairTest(
            task=a.row.task,
            metric=metric.name,
            a=a.row.label,
            b=b.row.label,
            p_holm=found.p,
            tests=size,
            **asdict(found),
        )
    ]


def paired(a: Scores, b: Scores, metric: Metric, size: int) -> Paired | None:
    """a against b on the queries that both answered, one of `size` tests that share Holm; None if they share none."""
    ours, theirs = align(a, b)
    if not len(ours.queries):
        return None
    x, y = ours.statistics[metric.name], theirs.statistics[metric.name]
    result = stats.paired_test(x, y, ours.users, metric.value)
    detectable = stats.minimum_detectable_difference(x, y, ours.users, metric.value, alpha=ALPHA / size)
    effect = stats.effect_size(x, y, ours.users, metric.value)
    return Paired(
        difference=result.difference,
        p=result.p,
        queries=len(ours.queries),
        users=result.users,
        minimum_detectable=detectable if math.isfinite(detectable) else None,
        effect_size=effect if math.isfinite(effect) else None,
        identical=bool((x == y).all()),
    )
