"""All paired tests of a comparison, with Holm's correction, and who ties with the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from harness.analysis import stats
from harness.analysis.comparison import ALPHA, Difference, Finding, PairTest, Ranking, Row, VsInstruct
from harness.analysis.panel import Pair, Panel, PermutationP, minimum_detectable, permutations_for
from harness.analysis.refits import Spread, over_fits
from harness.analysis.scores import Measure, Scores, align, take
from harness.analysis.stats import TOLERANCE
from harness.api import Metric
from harness.specs.run_spec import BASELINE

Metrics = Mapping[str, Sequence[Metric]]
Measures = Mapping[str, Sequence[Measure]]


@dataclass(frozen=True)
class Entry:
    """A row, and the scores it was made from; None where there are no answers.

    `measured` is what was measured beside, by group of measures. `curves` has, by seed, (seconds until an answer was
    ready, its main metric) of the fit's checkpoints and of the whole fit.
    """

    row: Row
    scores: Scores | None
    measured: tuple[Scores | None, ...] = ()
    curves: tuple[tuple[tuple[float, float], ...], ...] = ()


def run_tests(entries: Sequence[Entry], metrics: Measures, others: bool = True) -> list[PairTest]:
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


def versus_instruct(row: Row, tests: Sequence[PairTest]) -> dict[str, VsInstruct]:
    """What `tests` say of a row against instruct, by metric."""
    return {
        test.metric: VsInstruct(difference=test.difference, p=test.p, p_holm=test.p_holm, effect_size=test.effect_size)
        for test in tests
        if test.b == BASELINE and test.task == row.task and test.a == row.label
    }


def rank(entries: Sequence[Entry], tests: Sequence[PairTest], metrics: Metrics) -> list[Ranking]:
    """The best row of each task by each metric, and the rows that tie with it.

    Of equal scores instruct's is the best, as it costs nothing, else the first by name: never the one whose fit
    happened to be faster.
    """
    rankings = []
    for task in dict.fromkeys(entry.row.task for entry in entries):
        rows = [e.row for e in entries if e.row.task == task and e.row.ranks]
        for metric in metrics[task] if rows else ():
            best = _best(rows, metric)
            told_apart = {
                frozenset((test.a, test.b))
                for test in tests
                if test.task == task and test.metric == metric.name and test.p_holm < ALPHA
            }
            others = [row.label for row in rows if row.label != best]
            tied = [label for label in others if frozenset((best, label)) not in told_apart]
            rankings.append(Ranking(task=task, metric=metric.name, best=best, tied=tied))
    return rankings


def _best(rows: Sequence[Row], metric: Metric) -> str:
    values = [row.metrics[metric.name] for row in rows]
    top = max(values) if metric.higher_is_better else min(values)
    equal = [row.label for row, value in zip(rows, values, strict=True) if abs(value - top) <= TOLERANCE]
    return min(equal, key=lambda label: (label != BASELINE, label))


def _family(pairs: Sequence[tuple[Entry, Entry]], metrics: Measures) -> list[PairTest]:
    """Tests that share one Holm correction."""
    size = sum(len(metrics[a.row.task]) for a, _ in pairs)
    numbered: dict[tuple[str, bytes], list[int]] = {}  # the pairs of a task that have the same queries in common
    for number, (a, b) in enumerate(pairs):
        common = np.intersect1d(_answers(a).queries, _answers(b).queries)
        if len(common):
            numbered.setdefault((a.row.task, common.tobytes()), []).append(number)
    found: dict[tuple[int, str], PairTest] = {}
    for (task, _), numbers in numbered.items():
        for metric in metrics[task]:
            tests = _tests([pairs[number] for number in numbers], metric, size)
            found |= {(number, metric.name): test for number, test in zip(numbers, tests, strict=True)}
    order = [(n, m.name) for n, (a, _) in enumerate(pairs) for m in metrics[a.row.task] if (n, m.name) in found]
    adjusted = decisive([found[key] for key in order])
    return [found[key].model_copy(update={"p_holm": p}) for key, p in zip(order, adjusted, strict=True)]


def decisive(tests: Sequence[Finding]) -> list[float]:
    """By which p each of a family of tests is decided: Holm's over users or, if larger, the one over users and fits.

    The latter is not corrected: with the few degrees of freedom that a few fits leave, none could pass.
    """
    adjusted = stats.holm([test.p for test in tests])
    return [max(p, test.p_fits or 0.0) for p, test in zip(adjusted, tests, strict=True)]


def _tests(pairs: Sequence[tuple[Entry, Entry]], metric: Measure, size: int) -> list[PairTest]:
    """Tests, before Holm, of pairs that all have the same queries in common."""
    entries = list({entry.row.label: entry for pair in pairs for entry in pair}.values())
    common = reduce(np.intersect1d, [_answers(entry).queries for entry in pairs[0]])
    scores = [take(_answers(e), np.flatnonzero(np.isin(_answers(e).queries, common))) for e in entries]
    place = {entry.row.label: number for number, entry in enumerate(entries)}
    indices = [(place[a.row.label], place[b.row.label]) for a, b in pairs]
    return [
        PairTest(task=a.row.task, metric=metric.name, a=a.row.label, b=b.row.label, **found.model_dump())
        for (a, b), found in zip(pairs, _compared(scores, indices, metric, size), strict=True)
    ]


def paired(a: Scores, b: Scores, metric: Measure, size: int) -> Difference | None:
    """a against b on the queries that both answered, before Holm over `size` tests; None if they share no query."""
    scores = align(a, b)
    return _compared(scores, [(0, 1)], metric, size)[0] if len(scores[0].queries) else None


def _compared(
    scores: Sequence[Scores], pairs: Sequence[tuple[int, int]], metric: Measure, size: int
) -> list[Difference]:
    """Pairs among answers to the same queries, before Holm."""
    statistics = [one.statistics[metric.name] for one in scores]
    panel = Panel(statistics, scores[0].users, metric.value)
    tested = panel.p_values(pairs, permutations_for(size))
    return [
        _paired(panel, pair, (scores[pair[0]], scores[pair[1]]), found, metric, size)
        for pair, found in zip(pairs, tested, strict=True)
    ]


def _paired(
    panel: Panel, pair: Pair, scores: tuple[Scores, Scores], found: PermutationP, metric: Measure, size: int
) -> Difference:
    a, b = (one.statistics[metric.name] for one in scores)
    difference, spread = panel.difference(pair), _spread(panel, pair, scores, metric)
    # Where so few users' scores differ that no p could pass Holm, no difference is detectable.
    told = spread.over_users > 0 and found.smallest * size < ALPHA
    return Difference(
        difference=difference,
        p=found.p,
        p_holm=found.p,
        tests=size,
        p_fits=spread.p_value(difference) if spread.over_fits else None,
        smallest_p=found.smallest,
        queries=len(scores[0].queries),
        users=spread.users,
        standard_error=spread.over_users or None,
        fits=spread.fits,
        fits_error=spread.over_fits or None,
        minimum_detectable=_detectable(spread, size) if told else None,
        effect_size=_finite(panel.effect_size(pair)),
        identical=bool((a == b).all()),
        same_answers=_same_answers(*scores),
    )


def _detectable(spread: Spread, size: int) -> float:
    """What both a test over users after Holm and one over users and fits find."""
    return max(minimum_detectable(spread.of_users, ALPHA / size), minimum_detectable(spread, ALPHA))


def _spread(panel: Panel, pair: Pair, scores: tuple[Scores, Scores], metric: Measure) -> Spread:
    """How the difference varies over users and over the seeds that both methods were fitted with."""
    error, users = panel.standard_error(pair), len(panel.counts)
    over_users = error if math.isfinite(error) else 0.0
    seeds = sorted(set(scores[0].by_seed) & set(scores[1].by_seed))
    if len(seeds) < 2:
        return Spread(over_users, users)
    a, b = (np.stack([one.by_seed[seed][metric.name] for seed in seeds]) for one in scores)
    return Spread(over_users, users, over_fits(a, b, metric.value), len(seeds))


def _same_answers(a: Scores, b: Scores) -> bool:
    return a.answers is not None and b.answers is not None and bool((a.answers == b.answers).all())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _answers(entry: Entry) -> Scores:
    assert entry.scores is not None  # only what has answers is tested
    return entry.scores
