"""What the experiments came to on a real model, in about ten lines: the method, its cost, for whom, what is open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.analysis.comparison import ALPHA, BASELINE, PairTest
from harness.analysis.preference_likelihood import COPIED, GOLD, OWN, SIDE_EFFECTS
from harness.registry import is_control
from harness.reporting.comparison_tables import history_range
from harness.reporting.conclusions import INSTRUMENTS
from harness.reporting.formatting import bounds, listed, number, p_value, plain, rounded, seconds, share, signed
from harness.reproduction.result import ClaimResult, ClaimTest, Measured, Reproduction
from harness.reproduction.verdicts import qualified, subject

_OPEN = 3  # undecided claims that are spelled out


def answer(results: Sequence[Reproduction], names: Mapping[str, str]) -> list[str]:
    """Sentences; none of test instruments, which are no evidence about anybody.

    Of the first table all that is known, of the others who scored best.
    """
    if not results or any(model in INSTRUMENTS for result in results for model in result.models):
        return []
    tables = [result for result in results if result.tests]
    said = []
    if tables:
        first = tables[0]
        said += [_who(first, names), *_tasks(first, names), *_likelihoods(first), *_controls(first)]
    for table in tables[1:]:
        said += [f"{table.title}. {line}" for line in _tasks(table, names)]
    return [plain(line) for line in (*said, *_claims(results)) if line]


def users_needed(users: int, detectable: float | None, difference: float | None) -> int | None:
    """How many users would find a true difference of this size with 80% power; None where nothing can be said.

    Standard errors fall with the root of the users, so the detectable difference does. If these users should have found
    it and did not, they are too few for a standard error, or the difference is not of this size.
    """
    if not detectable or not difference or detectable <= abs(difference):
        return None
    return math.ceil(users * (detectable / difference) ** 2)


def _who(result: Reproduction, names: Mapping[str, str]) -> str:
    asked = result.settings
    users = f"the first {asked['users']} users" if asked["users"] else "all users"
    seeds = f"seed{'s' * (len(asked['seeds']) > 1)} {listed([str(seed) for seed in asked['seeds']])}"
    lacking = listed([names.get(task, task) for task in result.left_out])
    without = f"; without {lacking}, which these data lack" if lacking else ""
    return (
        f"{listed(list(result.models))} with {users} of {asked['data']}, {asked['history']} history items, "
        f"{seconds(asked['budget'])} per fit on {result.machine}, {seeds}{without}."
    )


def _tasks(result: Reproduction, names: Mapping[str, str]) -> list[str]:
    model = next(iter(result.models))
    found = []
    for task in dict.fromkeys(row.task for row in result.rows if row.model == model):
        rows = [row for row in result.rows if (row.model, row.task) == (model, task)]
        main = [row for row in rows if row.metric == rows[0].metric and row.value is not None]
        methods = [row for row in main if not is_control(row.label)]
        if methods:
            best = min(methods, key=_order)
            above = [row for row in main if is_control(row.label) and _order(row) < _order(best)]
            tests = {test.a: test for test in _against(result, task, best.metric)}
            said = f"{_head(best, names)} {_verdict(best, tests)}{_copied(best, rows)}"
            found.append(f"{said}{_rest(best, main, tests)}{_above(above)}")
    return found


def _order(row: Measured) -> float:
    """The lowest is the best."""
    assert row.value is not None
    return -row.value if row.higher_is_better else row.value


def _above(controls: Sequence[Measured]) -> str:
    """What scores above every method without knowing any user."""
    told = [f"{row.label} ({number(row.value)})" for row in sorted(controls, key=_order)]
    if not told:
        return ""
    return f" Above every method {'stand the controls' if len(told) > 1 else 'stands the control'} {listed(told)}."


def _head(best: Measured, names: Mapping[str, str]) -> str:
    direction = "higher" if best.higher_is_better else "lower"
    task, metric = names.get(best.task, best.task), names.get(best.metric, best.metric)
    return f"{task}, {best.users} users, by {metric} ({direction} is better):"


def _verdict(best: Measured, tests: Mapping[str, PairTest]) -> str:
    value = number(best.value) + (f" {bounds(best.interval)}" if best.interval else "")
    if best.label == BASELINE:
        return f"no method scores above {BASELINE}, the model as it is, at {value}."
    cost = f"It took {seconds(best.fit_seconds)} to fit and {seconds(best.eval_seconds)} to answer"
    whom = (
        f"{share(best.better_rate)} of the users are better off and {share(best.regret_rate)} worse{_histories(best)}"
    )
    test = tests.get(best.label)
    if test is None:
        return f"{best.label} scores highest, {value}. {cost}; {whom}."
    told = f"{number(abs(test.difference))} better than {BASELINE}, {p_value(test.p_holm)} after Holm"
    if test.p_holm < ALPHA:
        return f"{best.label} is best, {value} ({told}). {cost}; {whom}."
    needed = users_needed(test.users, test.minimum_detectable, test.difference)
    decide = f"; if that is the true gain, about {needed:,} users would show it" if needed else ""
    highest = f"{best.label} scores highest, {value} ({told}{decide})"
    return f"no method is better than {BASELINE} beyond chance. {highest}. {cost}; {whom}."


def _histories(best: Measured) -> str:
    """The gain over instruct of users with short histories and with long ones; empty where lengths do not differ."""
    sign = 1 if best.higher_is_better else -1
    parts = [
        f"{signed(sign * found.vs_instruct)} for the {found.users} with {history_range(found)}"
        for found in best.by_history
        if found.vs_instruct is not None
    ]
    return f", {listed(parts)}" if len(parts) > 1 else ""


def _copied(best: Measured, rows: Sequence[Measured]) -> str:
    """How much of its answers the best takes from the question, beside instruct: what ROUGE rewards, too."""
    shares = {row.label: row.value for row in rows if row.metric == COPIED and row.value is not None}
    if best.label == BASELINE or not {best.label, BASELINE} <= set(shares):
        return ""
    return (
        f" {share(shares[best.label])} of its words stand in the question, {share(shares[BASELINE])} of those of "
        f"{BASELINE}."
    )


def _rest(best: Measured, main: Sequence[Measured], tests: Mapping[str, PairTest]) -> str:
    sign = 1 if best.higher_is_better else -1
    told = [test for test in tests.values() if test.p_holm < ALPHA and test.a != best.label]
    better = [test.a for test in told if sign * test.difference > 0]
    worse = [test.a for test in told if sign * test.difference < 0]
    tied = [row.label for row in main if row.tied and best.best]
    groups = (
        ("Not told apart from it", tied),
        (f"Also better than {BASELINE}", better),
        (f"Worse than {BASELINE}", worse),
    )
    return "".join(f" {said}: {listed(labels)}." for said, labels in groups if labels)


def _likelihoods(result: Reproduction) -> list[str]:
    """Under which methods gold answers, and texts that concern no preference, are more or less likely.

    And the users' own words, and those of the question, more or less frequent: there controls tell nothing more.
    """
    likely, often = ("likelier", "less likely"), ("more frequent", "less frequent")
    said = {
        GOLD: ("What users wrote becomes {} (nats per token, beyond chance)", likely),
        OWN: ("The users' own words, which the question does not have, become {} (F1, beyond chance)", often),
        COPIED: ("Words of the question become {} in answers (share of words, beyond chance)", often),
        SIDE_EFFECTS[0].name: ("Side effects: text that concerns no preference becomes {}", likely),
    }
    found = []
    for metric, (words, (more, less)) in said.items():
        tests = [test for test in result.tests if test.metric == metric and test.b == BASELINE]
        tests = [test for test in tests if metric not in (OWN, COPIED) or not is_control(test.a)]
        sure = sorted((t for t in tests if t.p_holm < ALPHA), key=lambda t: -abs(t.difference))
        groups = {
            f"{more} under": [t for t in sure if t.difference > 0],
            f"{less} under": [t for t in sure if t.difference < 0],
        }
        parts = [
            f"{how} {listed([f'{_on(result, t.a, t.task)} ({signed(t.difference)})' for t in own])}"
            for how, own in groups.items()
            if own
        ]
        if tests:
            found.append(f"{words.format('; '.join(parts) or f'neither {more} nor {less} under any method')}.")
    return found


def _on(result: Reproduction, method: str, task: str) -> str:
    """The method, and the task where there are several."""
    return f"{method} on {task}" if len({row.task for row in result.rows}) > 1 else method


def _controls(result: Reproduction) -> list[str]:
    """Which methods are better than all controls, or some, by score and by likelihood: else they do not personalize."""
    mains = {row.task: (row.metric, row.higher_is_better) for row in reversed(result.rows)}  # the first is the main one
    golds = dict.fromkeys(mains, (GOLD, True))
    return [_beaten(result, mains, "Better"), _beaten(result, golds, "By the likelihood of what they wrote better")]


def _beaten(result: Reproduction, metrics: Mapping[str, tuple[str, bool]], better: str) -> str:
    """A sentence on the tests of one metric per task, (name, higher is better); empty without a control."""
    beaten: dict[str, set[str]] = {}
    there: set[str] = set()
    for test in result.tests:
        pair = {test.a, test.b}
        metric, higher = metrics.get(test.task, ("", True))
        if BASELINE in pair or test.metric != metric:
            continue
        control, method = sorted(pair, key=is_control, reverse=True)
        there.add(control)
        sign = (1 if higher else -1) * (1 if test.a == method else -1)
        if test.p_holm < ALPHA and sign * test.difference > 0:
            beaten.setdefault(_on(result, method, test.task), set()).add(control)
    if not there:
        return ""
    every = [name for name, found in beaten.items() if found == there]
    some = [f"{name} ({listed(sorted(found))})" for name, found in beaten.items() if found != there]
    return f"{better} than every control ({listed(sorted(there))}) beyond chance: {listed(every) or 'no method'}." + (
        f" Than some: {listed(some)}." if some else ""
    )


def _claims(results: Sequence[Reproduction]) -> list[str]:
    """The verdicts on the paper's claims, and how many users would decide the open ones."""
    claims = [(result, claim) for result in results for claim in result.claims]
    groups = {
        verdict: [
            f'"{claim.quote}" ({qualified(result.title.partition(":")[0], claim)})'
            for result, claim in claims
            if claim.verdict == verdict
        ]
        for verdict in ("supported", "not supported")
    }
    lines = [f"Of the paper's claims {verdict} here: {'; '.join(own) or 'none'}." for verdict, own in groups.items()]
    undecided = [(result, claim) for result, claim in claims if claim.verdict == "undecided"]
    if not undecided:
        return lines
    needs = sorted(
        (need for need in (_need(result, claim) for result, claim in undecided) if need), key=lambda need: need[0]
    )
    shown = "; ".join(text for _, text in needs[:_OPEN])
    return [*lines, f"Undecided: {len(undecided)} of {len(claims)} claims. {shown}{'.' if shown else ''}".rstrip()]


def _need(result: Reproduction, claim: ClaimResult) -> tuple[int, str] | None:
    """(users, in words) that its widest open comparison needs, for the reported gain or, without one, the measured."""
    found = [(needed, test) for test in claim.tests if test.verdict == "undecided" and (needed := _users(test))]
    if not found or claim.missing:
        return None
    needed, test = max(found, key=lambda pair: pair[0])
    size = "the paper's" if test.reported_gain else "the measured"
    gain = test.reported_gain or test.gain
    return needed, (
        f"{result.title.partition(':')[0]}, {subject(test)}: about {needed:,} users would decide a true gain of "
        f"{rounded(abs(gain))}, {size} ({test.users} here)"
    )


def _users(test: ClaimTest) -> int | None:
    return users_needed(test.users, test.minimum_detectable, test.reported_gain or test.gain)


def _against(result: Reproduction, task: str, metric: str) -> list[PairTest]:
    return [test for test in result.tests if (test.task, test.metric, test.b) == (task, metric, BASELINE)]
