"""What the paper claims, judged by the answers of this run.

A claim is a set of comparisons. Each is tested: two methods, or two points of one method, by the paired permutation
test over users and, with several seeds, by one over users and fits as well; a trend along the axis by Page's test on
per-user scores (Page 1963). Holm runs over all tests of the experiment, a test that two claims need counting once. One
comparison is

- supported: significant, the way the claim says;
- not supported: significant the other way; or null, and too small for the difference that the paper reports: were
  that the true one, a gain this small would be significantly rare (one-sided, Holm over the reported differences of
  the experiment);
- undecided: null, and the reported difference is not ruled out, or the paper reports none.

A claim is supported if all its comparisons are, not supported if any is not, and undecided otherwise. Both errors thus
hold for the claim as a whole, however many comparisons it has: one that is true as reported is refuted in about 5% of
runs, and one that is false somewhere supported in as few; more where few users score otherwise. docs/statistics.md has
the rates.

A model that an edit has silenced scores worst, which can go a claim's way, and a fit that came to nobody scores as
instruct does. So a verdict on answers most of which could not be read, or most of which no fit decided, says so. So
does one on points of an axis whose fits, for equal seconds, got through unequal work, as they do on a busy machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis import stats
from harness.analysis.comparison import ALPHA, Finding, Row
from harness.analysis.paired_tests import Metrics, decisive, paired
from harness.analysis.scores import Scores, align
from harness.api import Metric
from harness.formatting import listed, share
from harness.reproduction.experiment_spec import Claim, ExperimentSpec
from harness.reproduction.measuring import Side
from harness.reproduction.reported import Reported
from harness.reproduction.result import ClaimResult, ClaimTest, Verdict
from harness.reproduction.verdicts import placed

_UNEQUAL = 2  # times as many users learned from, beyond which an axis is no longer all that differs
_MOST = 0.5  # of the answers, or users, beyond which a score says nothing about personalization


@dataclass(frozen=True)
class Case:
    """One comparison that a claim asks for; `b` is empty for a trend, which spans all points."""

    kind: Literal["pair", "trend"]
    model: str
    task: str
    metric: str
    a: str
    a_point: int
    b: str = ""
    b_point: int = 0
    over: str = ""


def judge(
    sides: Sequence[Side],
    spec: ExperimentSpec,
    metrics: Metrics,
    reported: Reported,
    counterparts: Mapping[str, str],
) -> list[ClaimResult]:
    """Every claim of the experiment for every model."""
    models = list(dict.fromkeys(side.model for side in sides))
    asked = [(claim, model, list(_cases(claim, model, sides, metrics))) for model in models for claim in spec.claims]
    cases = list(dict.fromkeys(case for _, _, own in asked for case in own))
    tests = _tests(cases, sides, metrics)
    labels = {column.method: column.reported or column.method for column in spec.layout.methods}
    for case, test in tests.items():
        printed = [
            reported.value(spec.name, case.task, case.metric, counterparts[case.model], labels.get(label, label))
            for label in (case.a, case.b)
        ]
        if printed[0] is not None and printed[1] is not None:
            sign = 1 if _metric(case, metrics).higher_is_better else -1
            test.reported_gain = sign * (printed[0] - printed[1])
    decide(list(tests.values()))
    reservations = _reservations(sides)
    results = []
    for claim, model, own in asked:
        result = _result(claim, model, own, tests, reservations)
        result.reservations += dict.fromkeys(told for case in own if (told := _unequal_work(case, sides)))
        results.append(result)
    return results


def decide(tests: Sequence[ClaimTest]) -> None:
    """Fill in what all tests of an experiment decide together: both of Holm's corrections, then the verdicts."""
    for test, decided in zip(tests, decisive(tests), strict=True):
        test.p_holm, test.tests = decided, len(tests)
    known = [(test, tails) for test in tests if (tails := _shortfall(test)) is not None]
    for (test, (_, both)), adjusted in zip(known, stats.holm([alone for _, (alone, _) in known]), strict=True):
        test.p_reported = max(adjusted, both)
    for test in tests:
        test.verdict = verdict(test.gain, test.p_holm, test.p_reported)


def verdict(gain: float, p_holm: float, p_reported: float | None) -> Verdict:
    """The rule above for one comparison; gains are positive where they go the way of the claim."""
    if p_holm < ALPHA:
        return "supported" if gain > 0 else "not supported"
    return "not supported" if p_reported is not None and p_reported < ALPHA else "undecided"


def _shortfall(test: ClaimTest) -> tuple[float, float] | None:
    """P(a gain this small | the true one is the reported one) over users, and over users and fits; None if unknown."""
    if test.spread is None or test.reported_gain is None or test.reported_gain <= 0:
        return None
    missing = test.gain - test.reported_gain
    return test.spread.of_users.below(missing), test.spread.below(missing)


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim's verdict from its comparisons'; undecided without any."""
    if "not supported" in verdicts:
        return "not supported"
    return "supported" if verdicts and set(verdicts) == {"supported"} else "undecided"


def page_trend(values: NDArray[np.float64]) -> tuple[float, float]:
    """(Page's L less its expectation, two-sided p) of per-user values [users, points], positive for a rise."""
    from scipy.stats import page_trend_test

    users, points = values.shape
    rise = page_trend_test(values, method="asymptotic")
    fall = page_trend_test(-values, method="asymptotic")
    expected = users * points * (points + 1) ** 2 / 4
    return float(rise.statistic - expected), min(1.0, 2 * min(float(rise.pvalue), float(fall.pvalue)))


def _cases(claim: Claim, model: str, sides: Sequence[Side], metrics: Metrics) -> Iterator[Case]:
    own = [side for side in sides if side.model == model]
    if claim.at is not None and claim.than_at is not None:
        points = [(claim.at % len(own), claim.than_at % len(own))]
    else:
        points = [(number, number) for number in range(len(own))]
    for task in own[0].comparison.spec.tasks:
        if claim.trend:
            yield Case("trend", model, task, metrics[task][0].name, claim.trend, 0)
            continue
        for metric in metrics[task][:1] if claim.over else metrics[task]:
            for other in claim.than:
                for here, there in points:
                    yield Case("pair", model, task, metric.name, claim.better, here, other, there, claim.over)


def _tests(cases: Sequence[Case], sides: Sequence[Side], metrics: Metrics) -> dict[Case, ClaimTest]:
    """The tests that the answers allow."""
    by_point = {(side.model, side.point): side for side in sides}
    return {case: test for case in cases if (test := _test(case, by_point, metrics, len(cases))) is not None}


def _test(case: Case, sides: Mapping[tuple[str, int], Side], metrics: Metrics, size: int) -> ClaimTest | None:
    metric = _metric(case, metrics)
    if case.kind == "trend":
        return _trend(case, [side for (model, _), side in sorted(sides.items()) if model == case.model], metric)
    here, there = sides[case.model, case.a_point], sides[case.model, case.b_point]
    a, b = _improvement(here, case, case.a, metric), _improvement(there, case, case.b, metric)
    if a is None or b is None:
        return None
    found = paired(a, b, metric, size)
    if found is None:
        return None
    known = found.model_dump(include=set(Finding.model_fields))
    if found.smallest_p * size >= ALPHA:
        # Of so few users whose scores differ, none whatever could be significant, nor is their spread known.
        known["standard_error"] = None
    return ClaimTest(
        kind="pair",
        model=case.model,
        task=case.task,
        metric=case.metric,
        a=case.a,
        a_tick=here.tick,
        b=case.b,
        b_tick=there.tick,
        over=case.over,
        gain=found.difference if metric.higher_is_better else -found.difference,
        **known,
    )


def _rests_on(case: Case, model: str, point: int, task: str, label: str) -> bool:
    """Whether a comparison uses these answers."""
    if (case.model, case.task) != (model, task):
        return False
    if case.kind == "trend":
        return label == case.a
    return (label, point) in ((case.a, case.a_point), (case.b, case.b_point))


def _improvement(side: Side, case: Case, label: str, metric: Metric) -> Scores | None:
    """What `label` scored, less what the method that the case is `over` scored on the same queries, if it names one."""
    found, base = side.scores.get((case.task, label)), side.scores.get((case.task, case.over))
    if not case.over or found is None or base is None:
        return None if case.over else found
    ours, theirs = align(found, base)
    name = metric.name
    gained = {name: ours.statistics[name] - theirs.statistics[name]}
    seeds = [seed for seed in ours.by_seed if seed in theirs.by_seed]
    by_seed = {seed: {name: ours.by_seed[seed][name] - theirs.by_seed[seed][name]} for seed in seeds}
    return Scores(ours.queries, ours.users, gained, by_seed=by_seed)


def _trend(case: Case, sides: Sequence[Side], metric: Metric) -> ClaimTest | None:
    scores = [side.scores.get((case.task, case.a)) for side in sides]
    per_user = [_per_user(own, metric) for own in scores if own is not None]
    if len(per_user) < 3 or len(per_user) < len(sides):
        return None
    users = sorted(set.intersection(*(set(values) for values in per_user)))
    if len(users) < 2:
        return None
    sign = 1 if metric.higher_is_better else -1
    matrix = sign * np.array([[values[user] for values in per_user] for user in users])
    gain, p = page_trend(matrix)
    return ClaimTest(
        kind="trend",
        model=case.model,
        task=case.task,
        metric=case.metric,
        a=case.a,
        gain=gain,
        p=p,
        p_holm=p,
        users=len(users),
        identical=bool((matrix == matrix[:, :1]).all()),
    )


def _per_user(scores: Scores, metric: Metric) -> dict[str, float]:
    users, values = stats.per_user(scores.statistics[metric.name], scores.users, metric.value)
    return dict(zip(map(str, users), map(float, values), strict=True))


def _metric(case: Case, metrics: Metrics) -> Metric:
    return next(metric for metric in metrics[case.task] if metric.name == case.metric)


def _reservations(sides: Sequence[Side]) -> dict[tuple[str, int, str, str], list[str]]:
    """By model, point, task and label: an overrun budget, and answers none or unread and users not served, if most."""
    return {
        (side.model, side.point, row.task, row.label): list(
            _doubts(row, f"{placed(row.label, side.tick)} on {row.task}")
        )
        for side in sides
        for row in side.comparison.pooled
    }


def _doubts(row: Row, name: str) -> Iterator[str]:
    if row.status == "overran":
        yield f"{name} overran its budget"
    if row.unread > _MOST:
        yield f"{share(row.unread)} of the answers of {name} could not be read"
    if row.not_finite > _MOST * row.queries:
        yield f"the model's numbers are not finite for {row.not_finite} of {row.queries} questions under {name}"
    if row.serves_nobody or (row.serves_some and row.users_served < (1 - _MOST) * row.users):
        yield f"{name} served {row.users_served or 'none'} of its {row.users} users"


def _unequal_work(case: Case, sides: Sequence[Side]) -> str:
    """That the fits of one method whose points are compared learned from very different numbers of users, if so."""
    if case.kind == "pair" and (case.a != case.b or case.a_point == case.b_point):
        return ""
    learned = [
        row.users_fitted
        for side in sides
        for row in side.comparison.pooled
        if _rests_on(case, side.model, side.point, row.task, row.label)
    ]
    if not min(learned, default=0) or max(learned) <= _UNEQUAL * min(learned):
        return ""  # of fits that learned from nobody `_doubts` tells
    counts = listed(list(map(str, learned)))
    return f"the fits of {case.a} on {case.task} had learned from {counts} users when their time was up"


def _result(
    claim: Claim,
    model: str,
    cases: Sequence[Case],
    tests: Mapping[Case, ClaimTest],
    reservations: Mapping[tuple[str, int, str, str], Sequence[str]],
) -> ClaimResult:
    """A comparison without answers keeps a claim from being supported."""
    own = [tests[case] for case in cases if case in tests]
    missing = [
        " against ".join(filter(None, (case.a, case.b))) + f" on {case.task}" for case in cases if case not in tests
    ]
    verdicts: list[Verdict] = [test.verdict for test in own]
    verdicts += ["undecided"] * bool(missing)
    return ClaimResult(
        model=model,
        quote=claim.quote,
        source=claim.source,
        verdict=combined(verdicts),
        tests=own,
        missing=list(dict.fromkeys(missing)),
        reservations=[
            one for key, told in reservations.items() for one in told if any(_rests_on(case, *key) for case in cases)
        ],
    )
