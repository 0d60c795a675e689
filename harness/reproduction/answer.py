"""What the experiments came to on a real model, in about ten lines: the method, its cost, for whom, what is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from harness.analysis.comparison import ALPHA, PairTest
from harness.analysis.panel import users_needed
from harness.analysis.preference_likelihood import COPIED, GOLD
from harness.formatting import listed, number, plain, rounded, seconds, share, signed
from harness.registry import control_of, controls_by_method, is_control, is_instrument, method_of
from harness.reporting.best_method import (
    against_instruct,
    better_and_worse,
    beyond_chance,
    copying,
    heading,
    late_and_better,
    unreadable,
)
from harness.reporting.comparison_tables import history_range
from harness.reporting.instruments import instruments
from harness.reporting.losses import quoted
from harness.reproduction.result import ClaimResult, ClaimTest, Measured, Reproduction, Verdict
from harness.reproduction.verdicts import qualified, subject
from harness.specs.run_spec import BASELINE

_OPEN = 3  # undecided claims that are spelled out
_FEW = 5  # fewer users of a length of history are no group


def answer(results: Sequence[Reproduction], names: Mapping[str, str]) -> list[str]:
    """Sentences on experiments with the same tasks; none on test instruments, which are no evidence about anybody.

    Of the first table all that `glance` does not show, of the others who scored best.
    """
    tables = [result for result in results if result.tests and not instruments(result.models)]
    if not tables:
        return []
    first, who = tables[0], _who(tables[0], names)
    said = [f"{who}.", *_personal(first), *_tasks(first, names), *_whom(first, names), *_undecided(first, names)]
    for table in tables[1:]:
        other = "" if (own := _who(table, names)) == who else f" ({own})"
        said += [f"{table.title}{other}. {line}" for line in _tasks(table, names)]
    return [plain(line) for line in said if line]


def short_verdicts(results: Sequence[Reproduction]) -> list[str]:
    """How the paper's claims came out, and how many users would decide the open ones; not of test instruments."""
    claims = [(result, c) for result in results for c in result.claims if not is_instrument(c.model)]
    if not claims:
        return []
    counts = {verdict: sum(claim.verdict == verdict for _, claim in claims) for verdict in get_args(Verdict)}
    lines = [f"Verdicts on the paper's claims: {listed([f'{n} {verdict}' for verdict, n in counts.items()])}."]
    lines += [
        f'{qualified(claim.verdict.capitalize(), claim)}: "{claim.quote}" ({result.number}).'
        for result, claim in claims
        if claim.reservations and claim.verdict == "supported"
    ]
    if count := sum(bool(claim.reservations) and claim.verdict != "supported" for _, claim in claims):
        rest = "the others" if len(lines) > 1 else "these"
        why = "answers most of which could not be read, or on fits that got too little done"
        lines.append(f"Of {rest} {count} rest on {why}.")
    undecided = [(result, claim) for result, claim in claims if claim.verdict == "undecided"]
    needs = sorted((need for need in (_need(*pair) for pair in undecided) if need), key=lambda need: need[0])
    return [plain(line) for line in (*lines, *(f"Undecided: {text}." for _, text in needs[:_OPEN]))]


def _who(result: Reproduction, names: Mapping[str, str]) -> str:
    asked = result.settings
    count = max((row.users for row in result.rows), default=0)
    users = f"the first {count} users" if asked["users"] else f"all {count} users"
    seeds = f"seed{'s' * (len(asked['seeds']) > 1)} {listed([str(seed) for seed in asked['seeds']])}"
    lacking = listed([names.get(task, task) for task in result.left_out])
    without = f"; without {lacking}, which these data lack" if lacking else ""
    history = "no history in the prompt" if asked["eval_history"] == "none" else f"{asked['history']} history items"
    fitted = ", fitted on other users" if asked["regime"] == "unseen" else ""
    return (
        f"{listed(list(result.models))} with {users} of {asked['data']}, {history}{fitted}, "
        f"{seconds(asked['budget'])} per fit on {result.machine}, {seeds}{without}"
    )


def _tasks(result: Reproduction, names: Mapping[str, str]) -> list[str]:
    """Of each task who scores best, and beyond chance better or worse than instruct."""
    found = []
    for best, rows in _best(result):
        main = [row for row in rows if row.metric == best.metric and row.value is not None]
        above = [row for row in main if is_control(row.label) and _order(row) < _order(best)]
        tests = {test.a: test for test in _against(result, best.task, best.metric)}
        others = [test for test in tests.values() if test.a != best.label and not is_control(test.a)]
        overran = {row.label for row in main if row.status == "overran"}
        better, worse = beyond_chance((test for test in others if test.a not in overran), best.higher_is_better)
        late = late_and_better((test for test in others if test.a in overran), best.higher_is_better)
        test, alone = tests.get(best.label), not better
        lost = next((row.parse_failures or 0.0 for row in main if row.label == BASELINE), 0.0)
        tied = [row.label for row in main if row.tied and best.best and not is_control(row.label)]
        model = f"{best.model} on " if len(result.models) > 1 else ""
        task, metric = (names.get(name, name) for name in (best.task, best.metric))
        sentences = [
            f"{model}{heading(task, metric, best.higher_is_better, best.users, best.queries)}",
            against_instruct(best.label, best.value, best.interval, test, alone, late),
            unreadable(lost),
            _copied(best, rows),
            *_alike(main),
            f"Not told apart from it: {listed(tied)}." if tied else "",
            *better_and_worse(better, worse, late),
            _above(above),
        ]
        found.append(" ".join(sentence for sentence in sentences if sentence))
    return found


def _whom(result: Reproduction, names: Mapping[str, str]) -> list[str]:
    """Of each task what the best method cost, and who was better off with it."""
    found = []
    for best, _ in _best(result):
        on = f" on {names.get(best.task, best.task)}" if len(result.tasks) > 1 else ""
        cost = f"{seconds(best.fit_seconds)} to fit and {seconds(best.eval_seconds)} to answer all"
        whom = f"{share(best.better_rate)} of the users are better off with it and {share(best.regret_rate)} worse"
        if best.label != BASELINE and best.better_rate is not None:
            found.append(f"{best.label}{on} took {cost}; {whom}{_histories(best)}.")
    return found


def _undecided(result: Reproduction, names: Mapping[str, str]) -> list[str]:
    """Of each task the methods that are not told apart from instruct, and how many users would do so."""
    found = []
    for best, _ in _best(result):
        needs: dict[str, list[tuple[int, str]]] = {"better": [], "worse": []}
        for test in _against(result, best.task, best.metric):
            if test.p_holm >= ALPHA and not is_control(test.a) and (needed := users_needed(test, test.difference)):
                side = "better" if (test.difference > 0) == best.higher_is_better else "worse"
                needs[side].append((needed, test.a))
        told = [
            f"as {side} {listed([f'{label} {needed:,}' for needed, label in sorted(own)])}"
            for side, own in needs.items()
            if own
        ]
        if told:
            on = f" on {names.get(best.task, best.task)}" if len(result.tasks) > 1 else ""
            found.append(
                f"Users that would tell a method{on} from {BASELINE}, if the difference measured by "
                f"{names.get(best.metric, best.metric)} is the true one ({best.users} here): {'; '.join(told)}."
            )
    return found


def _best(result: Reproduction) -> list[tuple[Measured, list[Measured]]]:
    """Of each task the method that ranks best, controls apart, and all rows; of the first model."""
    model = next(iter(result.models))
    found = []
    for task in result.tasks:
        rows = [row for row in result.rows if (row.model, row.task) == (model, task)]
        scored = [row for row in rows if row.metric == rows[0].metric and row.value is not None]
        methods = [row for row in scored if row.status != "overran" and not is_control(row.label)]
        if methods:
            found.append((min(methods, key=lambda row: (_order(row), row.label != BASELINE, row.label)), rows))
    return found


def _alike(rows: Sequence[Measured]) -> list[str]:
    """Whose answers do not depend on the question, let alone on the user."""
    told = [row for row in rows if row.sole_answer is not None and not is_control(row.label)]
    return [f"{row.label} answers every question with {quoted(row.sole_answer)}." for row in told]


def _order(row: Measured) -> float:
    """The lowest is the best."""
    assert row.value is not None
    return -row.value if row.higher_is_better else row.value


def _above(controls: Sequence[Measured]) -> str:
    """What scores above every method without knowing any user."""
    told = [f"{row.label} ({number(row.value)})" for row in sorted(controls, key=_order)]
    if not told:
        return ""
    return f"Above every method {'stand the controls' if len(told) > 1 else 'stands the control'} {listed(told)}."


def _histories(best: Measured) -> str:
    """The gain over instruct of users with short histories and with long ones; empty where lengths do not differ."""
    sign = 1 if best.higher_is_better else -1
    parts = [
        f"{signed(sign * found.vs_instruct)} for the {found.users} with {history_range(found)}"
        for found in best.by_history
        if found.vs_instruct is not None and found.users >= _FEW
    ]
    return f", {listed(parts)}" if len(parts) > 1 else ""


def _copied(best: Measured, rows: Sequence[Measured]) -> str:
    """How much of its answers the best takes from the question; empty for instruct, and where that is not known."""
    shares = {row.label: row.value for row in rows if row.metric == COPIED and row.value is not None}
    if best.label == BASELINE or not {best.label, BASELINE} <= set(shares):
        return ""
    return copying("its", shares[best.label], shares[BASELINE])


def _methods(result: Reproduction, keys: Iterable[tuple[str, str]]) -> str:
    """(task, method) pairs in words, the task where there are several."""
    return listed([f"{method} on {task}" if len(result.tasks) > 1 else method for task, method in keys])


def _personal(result: Reproduction) -> list[str]:
    """Which methods are shown to personalize, by score and by likelihood."""
    mains = {row.task: (row.metric, row.higher_is_better) for row in reversed(result.rows)}  # the first is the main one
    golds = dict.fromkeys(mains, (GOLD, True))
    return [_shown(result, mains, "score"), _shown(result, golds, "the likelihood of the users' own answers")]


def _shown(result: Reproduction, metrics: Mapping[str, tuple[str, bool]], by: str) -> str:
    """A sentence on the tests of one metric per task, (name, higher is better), with instruct and controls.

    A method has to beat instruct, the controls that are of no method in particular, and its own.
    """
    faced: dict[tuple[str, str], set[str]] = {}
    beaten: dict[tuple[str, str], set[str]] = {}
    late = {(row.task, row.label) for row in result.rows if row.status == "overran"}
    for test in result.tests:
        metric, higher = metrics.get(test.task, ("", True))
        rival, method = (
            (test.b, test.a) if test.b == BASELINE else sorted((test.a, test.b), key=is_control, reverse=True)
        )
        key = (test.task, method)
        theirs = rival == BASELINE or control_of(rival) in ("", method_of(method))
        if test.metric != metric or is_control(method) or key in late or not theirs:
            continue
        faced.setdefault(key, set()).add(rival)
        sign = (1 if higher else -1) * (1 if test.a == method else -1)
        if test.p_holm < ALPHA and sign * test.difference > 0:
            beaten.setdefault(key, set()).add(rival)
    faced = {key: rivals for key, rivals in faced.items() if BASELINE in rivals}
    every = set().union(*faced.values())
    if not every - {BASELINE}:
        return ""
    controlled = controls_by_method()
    unjudged = {
        key
        for key, rivals in faced.items()
        if rivals == {BASELINE} or (method_of(key[1]) in controlled and not any(map(control_of, rivals)))
    }
    shown = [key for key, rivals in faced.items() if key not in unjudged and beaten.get(key) == rivals]
    common = sorted(rival for rival in every - {BASELINE} if not control_of(rival))
    ahead = f"better beyond chance than {listed([BASELINE, *common, 'its own controls'])}"
    if len(result.settings["seeds"]) > 1:
        said = f"Shown to personalize by {by}, {ahead}"
    else:
        said = f"By {by}, in one fit of each (another may come out otherwise), {ahead}"
    rest = [*_not_faced({key: faced[key] for key in shown}, controlled), *_unjudged(result, unjudged, controlled)]
    return " ".join([f"{said}: {_methods(result, shown) or 'no method'}.", *rest])


def _not_faced(shown: Mapping[tuple[str, str], set[str]], controlled: Mapping[str, Sequence[str]]) -> list[str]:
    """Of methods that beat the controls which were run, those of theirs that were not; `controlled` has all of them."""
    found = []
    for (task, method), rivals in shown.items():
        there = set(map(method_of, rivals))
        if absent := [name for name in controlled.get(method_of(method), ()) if name not in there]:
            found.append(
                f"On {task} {method} was not held against its control{'s' * (len(absent) > 1)} {listed(absent)}."
            )
    return found


def _unjudged(
    result: Reproduction, keys: Iterable[tuple[str, str]], controlled: Mapping[str, Sequence[str]]
) -> list[str]:
    """Of which methods no control was run, and which have none."""
    ordered = sorted(keys, key=lambda key: key[::-1])
    lacking = [key for key in ordered if method_of(key[1]) in controlled]
    without = [key for key in ordered if key not in lacking]
    told = (("as no control of theirs was run here", lacking), ("as no control of theirs exists", without))
    return [f"Not judged, {why}: {_methods(result, found)}." for why, found in told if found]


def _need(result: Reproduction, claim: ClaimResult) -> tuple[int, str] | None:
    """(users, in words) that its widest open comparison needs, for the reported gain or, without one, the measured."""
    found = [(needed, test) for test in claim.tests if test.verdict == "undecided" and (needed := _users(test))]
    if not found or claim.missing or claim.reservations:
        return None
    needed, test = max(found, key=lambda pair: pair[0])
    size = "the paper's" if test.reported_gain else "the measured"
    gain = test.reported_gain or test.gain
    return needed, (
        f"{result.number}, {subject(test)}; about {needed:,} users would decide a true "
        f"{'gain' if gain > 0 else 'loss'} of {rounded(abs(gain))}, {size} ({test.users} here)"
    )


def _users(test: ClaimTest) -> int | None:
    return users_needed(test, test.reported_gain or test.gain)


def _against(result: Reproduction, task: str, metric: str) -> list[PairTest]:
    return [test for test in result.tests if (test.task, test.metric, test.b) == (task, metric, BASELINE)]
