"""The answer of a comparison in plain sentences: who is best, at what cost, for whom, and could this run have told?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.analysis.comparison import ALPHA, Comparison, PairTest, Ranking, Row
from harness.analysis.panel import permutations_for, smallest_p, users_needed
from harness.analysis.preference_likelihood import CHANGED, COPIED, GOLD, NEUTRAL, OWN
from harness.formatting import counted, listed, memory, number, plain, rounded, seconds, share
from harness.registry import is_control, is_instrument, model_remark
from harness.reporting.best_method import (
    NAMED,
    UNREADABLE,
    against_instruct,
    better_and_worse,
    beyond_chance,
    copying,
    foremost,
    heading,
    late_and_better,
    nobody,
    unreadable,
)
from harness.reporting.losses import losses, quoted
from harness.specs.run_spec import BASELINE

_FEW = 3  # tied methods that are still spelled out


def answer_in_words(comparison: Comparison) -> list[str]:
    """Paragraphs: what the model is, what was lost, one per task, what fits say against themselves, what went wrong."""
    return [
        *_model(comparison),
        *losses(comparison),
        *(_task(comparison, task) for task in comparison.spec.tasks),
        *_cautions(comparison),
        *_mishaps(comparison),
    ]


def _model(comparison: Comparison) -> list[str]:
    """What a reader must know of it, if anything."""
    model = comparison.spec.model
    if is_instrument(model):
        return [
            f"The model, {model}, is a small test instrument trained on a synthetic world: what follows shows whether "
            "the methods work as built and is no evidence about real language models."
        ]
    return [remark] if (remark := model_remark(model)) else []


def _task(comparison: Comparison, task: str) -> str:
    rankings = [ranking for ranking in comparison.rankings if ranking.task == task]
    if not rankings:
        return f"{task}: no method gave answers within the budget, so nothing can be said."
    main = rankings[0]
    higher = comparison.higher_is_better[task][main.metric]
    rows = _best_first(comparison, main, higher)
    found = {t.a: t for t in comparison.comparisons if (t.task, t.metric, t.b) == (task, main.metric, BASELINE)}
    tests = {label: found[label] for label in rows if label in found}
    best = rows[main.best]
    ranked = (test for test in tests.values() if test.a != main.best and rows[test.a].ranks)
    better, worse = beyond_chance(ranked, higher)
    late = late_and_better((test for test in tests.values() if not rows[test.a].ranks), higher)
    interval, test = best.interval.get(main.metric), tests.get(main.best)
    sentences = [
        heading(task, main.metric, higher, best.users, best.queries),
        against_instruct(main.best, best.metrics[main.metric], interval, test, alone=not better, late=late),
        unreadable(rows[BASELINE].unread if BASELINE in rows else 0.0),
        _control(main, rows, late),
        _tied(main, rows),
        _floor(comparison, main, rows),
        _cost(main, rows),
        _newcomer(best),
        *better_and_worse(better, worse, late),
        _luck(list(tests.values())),
        *(_other_metric(main, other) for other in rankings[1:]),
        *_blindness(comparison, task, tests),
        _likelihood(comparison, task),
        _side_effects(comparison, task),
        _own_words(comparison, task, best),
    ]
    return plain(" ".join(sentence for sentence in sentences if sentence))


def _best_first(comparison: Comparison, ranking: Ranking, higher_is_better: bool) -> dict[str, Row]:
    """The rows with answers, by label."""
    rows = [row for row in comparison.pooled if row.task == ranking.task and row.metrics]
    return {
        row.label: row for row in sorted(rows, key=lambda row: row.metrics[ranking.metric], reverse=higher_is_better)
    }


def _control(ranking: Ranking, rows: dict[str, Row], late: Sequence[str]) -> str:
    """Of a control that is ahead, that it is one; and the best of what is none."""
    if not is_control(ranking.best):
        return ""
    best = next((row for row in rows.values() if row.ranks and not is_control(row.label)), None)
    if best is None:
        return f"{ranking.best} is a control."
    value = number(best.metrics[ranking.metric])
    return f"{ranking.best} is a control, and {nobody(late)} is ahead of it: the best is {best.label}, {value}."


def _tied(ranking: Ranking, rows: dict[str, Row]) -> str:
    if not ranking.tied:
        return "All others that rank are worse beyond chance." if _others(rows) else ""
    if _many_and_all_tie(ranking, rows):
        return f"None of the {_others(rows)} others that rank is told apart from {ranking.best}."
    return f"Not told apart from {ranking.best}: {foremost([label for label in rows if label in ranking.tied])}."


def _others(rows: dict[str, Row]) -> int:
    return sum(row.ranks for row in rows.values()) - 1


def _many_and_all_tie(ranking: Ranking, rows: dict[str, Row]) -> bool:
    return NAMED < len(ranking.tied) == _others(rows)


def _floor(comparison: Comparison, ranking: Ranking, rows: dict[str, Row]) -> str:
    """Which ties are for want of users: their p is as small as it can be, and Holm still asks for less."""
    bound = [
        test
        for test in comparison.comparisons
        if (test.task, test.metric) == (ranking.task, ranking.metric) and test.p_holm >= ALPHA
        if ranking.best in (test.a, test.b) and not test.identical and test.p <= test.smallest_p
        if test.smallest_p * test.tests >= ALPHA
    ]
    if not bound:
        return ""
    named = {label for test in bound for label in (test.a, test.b)} - {ranking.best}
    names = foremost([label for label in rows if label in named])
    if _many_and_all_tie(ranking, rows):
        names = f"{len(named)} of these"
    least, tests = min(test.smallest_p for test in bound), max(test.tests for test in bound)
    return (
        f"Too few users decide between {ranking.best} and {names}: as many as scored differently allow no p below "
        f"{rounded(least)}, and Holm over {counted(tests, 'test')} asks for less."
    )


def _luck(tests: Sequence[PairTest]) -> str:
    """Which methods these users tell from instruct as they were fitted, while other fits might come out otherwise."""
    told = [test for test in tests if test.p_fits is not None and test.p_fits >= ALPHA > test.p * test.tests]
    if not told:
        return ""
    alone = all(users_needed(test, test.difference) is None for test in told)
    return (
        f"As they were fitted, {listed([test.a for test in told])} would be told from {BASELINE}, but their "
        f"{told[0].fits} fits differ too much to say so of others: more seeds would tell"
        f"{', more users would not' if alone else ''}."
    )


def _cost(ranking: Ranking, rows: dict[str, Row]) -> str:
    """Fit time, and users worse off, of the best and of those that tie with it: only the cheapest if they are many."""
    tied = sorted((rows[label] for label in ranking.tied), key=lambda row: row.fit_seconds)
    named = [rows[ranking.best], *(tied if len(tied) <= _FEW else tied[:1])]
    costs = [f"{row.label} took {seconds(row.fit_seconds)}{_regret(row)}" for row in named if row.label != BASELINE]
    return f"To fit, {'; '.join(costs)}." if costs else ""


def _regret(row: Row) -> str:
    if row.regret_rate is None:
        return ""
    if row.regret_rate == 0:
        return " and left no user worse off"
    return f" and left {share(row.regret_rate)} of the users ({round(row.regret_rate * row.users)}) worse off"


def _newcomer(row: Row) -> str:
    """What one more user would cost the best method."""
    if row.label == BASELINE or row.marginal_seconds is None or row.marginal_bytes is None:
        return ""
    if row.serves_newcomers:
        return f"{row.label} serves a new user without another fit."
    return f"A new user costs {row.label} about {seconds(row.marginal_seconds)} and {memory(row.marginal_bytes)}."


def _other_metric(main: Ranking, other: Ranking) -> str:
    if main.best in (other.best, *other.tied):
        return ""
    return f"By {other.metric}, however, {other.best} is best, and {main.best} is told apart from it."


def _blindness(comparison: Comparison, task: str, tests: dict[str, PairTest]) -> list[str]:
    """What the sample and the instrument could not have shown."""
    nulls = [test for test in tests.values() if test.p_holm >= ALPHA]
    if not nulls:
        return []
    sentences = []
    exact = [test.a for test in nulls if test.same_answers]
    idle = {row.label for row in comparison.pooled if row.task == task and row.serves_nobody}
    if told := [label for label in exact if label not in idle]:  # of the idle it was said before the results
        sentences.append(f"{listed(told)} answered exactly as {BASELINE}.")
    same = [test.a for test in nulls if test.identical and test.a not in exact]
    if same:
        sentences.append(f"No answer of {listed(same)} scored otherwise than {BASELINE}'s.")
    users = max(test.users for test in nulls)
    floor = min(1.0, min(smallest_p(test.users, permutations_for(test.tests)) * test.tests for test in nulls))
    sizes = [test.minimum_detectable for test in nulls if test.minimum_detectable is not None]
    if floor >= ALPHA:
        sentences.append(
            f"With {counted(users, 'user')} and {counted(nulls[0].tests, 'test')}, no difference whatever could have "
            f"been told from chance (the smallest p that Holm could leave is {rounded(floor)})."
        )
    else:
        few = [test.a for test in nulls if not test.identical and test.smallest_p * test.tests >= ALPHA]
        if few:
            sentences.append(
                f"Too few users score otherwise under {foremost(few)} than under {BASELINE} to tell a difference."
            )
        if sizes:
            sentences.append(
                f"With {counted(users, 'user')}, a difference from {BASELINE} below about {_span(sizes)} "
                "may well have gone unnoticed: one as large is found 4 times in 5."
            )
    every = (*comparison.comparisons, *comparison.likelihood_tests)
    moved = any(t.task == task and t.b == BASELINE and t.p_holm < ALPHA for t in every)
    if is_instrument(comparison.spec.model) and not moved:
        sentences.append(
            f"No method of this run moved {comparison.spec.model} on {task}, so the null may be the instrument's."
        )
    return sentences


def _likelihood(comparison: Comparison, task: str) -> str:
    """Under whom the gold answers are likelier than under instruct, and under whom less likely."""
    said = _moved(comparison, task, GOLD, ("more likely", "less likely"))
    return said and f"By preference likelihood, in nats per token, the gold answers are {said}."


def _side_effects(comparison: Comparison, task: str) -> str:
    """What methods do to texts and questions that concern nobody's preference; empty where nothing was measured."""
    texts = _moved(comparison, task, NEUTRAL, ("more likely", "less likely"))
    told = _against(comparison, task, CHANGED)
    changed = listed([f"{test.a} ({share(test.difference)})" for test in told if test.p_holm < ALPHA])
    answers = f" Questions about these are answered otherwise under {changed}." if changed else ""
    return texts and f"Texts that concern no preference are {texts}.{answers}"


def _own_words(comparison: Comparison, task: str, best: Row) -> str:
    """Under whom the words that the user chose are found, and how much the best answers take from the question."""
    said = _moved(comparison, task, OWN, ("more frequent", "less frequent"))
    rows = [row for row in comparison.pooled if row.task == task and COPIED in row.likelihood]
    copied = {row.label: row.likelihood[COPIED].value for row in rows}
    if not said or best.label not in copied:
        return ""
    baseline = copied[BASELINE] if best.label != BASELINE else None
    return (
        f"In the answers, the users' own words, which the question does not have, are {said}. Of {best.label}, "
        f"{copying('the', copied[best.label], baseline)}"
    )


def _moved(comparison: Comparison, task: str, measure: str, words: tuple[str, str]) -> str:
    """Under which methods a measure is higher than under instruct, and lower; empty where nothing was tested."""
    tests = _against(comparison, task, measure)
    if not tests:
        return ""
    told = [test for test in tests if test.p_holm < ALPHA]
    groups = ([t for t in told if t.difference > 0], [t for t in told if t.difference < 0])
    found = [
        f"{word} under {listed([f'{t.a} (by {rounded(abs(t.difference))})' for t in group])}"
        for word, group in zip(words, groups, strict=True)
        if group
    ]
    return ", ".join(found) or f"under no method told apart from {BASELINE}"


def _against(comparison: Comparison, task: str, measure: str) -> list[PairTest]:
    """The tests against instruct of what is measured beside the metrics."""
    return [t for t in comparison.likelihood_tests if (t.task, t.metric, t.b) == (task, measure, BASELINE)]


def _cautions(comparison: Comparison) -> list[str]:
    """Each caution of a diagnosis once, after the methods, tasks and, where not all of them have it, seeds."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in comparison.pooled:
        cells = [cell for cell in comparison.rows if (cell.task, cell.label) == (row.task, row.label)]
        seeds: dict[str, list[str]] = {}
        for cell in cells:
            if cell.diagnosis and cell.diagnosis.caution:
                seeds.setdefault(cell.diagnosis.caution, []).append(str(cell.seed))
        for caution, own in seeds.items():
            some = "" if len(own) == len(cells) else f" (seed{'s' * (len(own) > 1)} {listed(own)})"
            found.setdefault(caution, {}).setdefault(row.label, []).append(f"{row.task}{some}")
    return [
        plain(f"{'; '.join(f'{label} on {listed(tasks)}' for label, tasks in where.items())}: {caution.rstrip('.')}.")
        for caution, where in found.items()
    ]


def _mishaps(comparison: Comparison) -> list[str]:
    found = []
    for row in comparison.pooled:
        where = f"{row.label} on {row.task}"
        if not row.metrics:
            found.append(f"{where} {row.status.replace('_', ' ')}: {row.reason.rstrip('.') or 'no answers'}.")
            continue
        if row.status == "overran":
            seeds = [r for r in comparison.rows if (r.task, r.label, r.status) == (row.task, row.label, "overran")]
            over = seconds(max(seed.fit_seconds - seed.budget_seconds for seed in seeds))
            found.append(f"{where} overran its budget of {seconds(row.budget_seconds)} by {over} and does not rank.")
        elif row.reason:
            found.append(f"{where}: {row.reason.rstrip('.')}.")
    found += [said for task in comparison.spec.tasks if (said := _unread(comparison, task))]
    stopped = [row for row in comparison.pooled if row.status == "budget_exhausted"]
    if stopped:
        names = listed([f"{row.label} on {row.task}" for row in stopped])
        found.append(f"The budget of {seconds(stopped[0].budget_seconds)} cut short: {names}.")
    return [plain(sentence) for sentence in found]


def _unread(comparison: Comparison, task: str) -> str:
    """Whose answers are often none to the task, controls apart, and the commonest of these; empty where nobody's."""
    rows = [row for row in comparison.pooled if row.task == task and row.metrics and row.unread > UNREADABLE]
    if not rows:
        return ""
    texts = Counter(row.unread_answer for row in rows if row.unread_answer is not None)
    such = "".join(f", such as {quoted(text)}" for text, _ in texts.most_common(1))
    methods, controls = ([row for row in rows if is_control(row.label) == kind] for kind in (False, True))
    shares = "; ".join(filter(None, [_shares(methods), f"controls: {_shares(controls)}" if controls else ""]))
    return f"Answers on {task} that could not be read as one of the task's{such}: {shares}."


def _shares(rows: Sequence[Row]) -> str:
    """`100% under caa and pag; 40% under dpo`."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.unread, reverse=True):
        found.setdefault(share(row.unread), []).append(row.label)
    return "; ".join(f"{unread} under {listed(labels)}" for unread, labels in found.items())


def _span(sizes: Sequence[float]) -> str:
    low, high = rounded(min(sizes)), rounded(max(sizes))
    return low if low == high else f"{low} to {high}, depending on the method,"
