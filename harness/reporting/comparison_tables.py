"""The tables of a comparison, as text: what every method scored, what it cost, and each seed by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis.comparison import ALPHA, Comparison, HistoryBin, PairTest, Quartiles, Ranking, Row, standing
from harness.analysis.preference_likelihood import CHANGED, GOLD, NEUTRAL, WORDS
from harness.api import Diagnosis
from harness.formatting import bounds, counted, memory, number, p_value, plain, rounded, seconds, share, signed
from harness.reporting.losses import state
from harness.specs.run_spec import BASELINE

_TIED = " ≈"


@dataclass
class Table:
    """Cells as text, lines in them separated by a line feed; `bold` holds (row, column)."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    bold: set[tuple[int, int]]


def tables(comparison: Comparison, task: str) -> list[Table]:
    """Of one task: scores, what is measured beside, for whom, costs, each of several seeds, what the fits rest on."""
    found = [_quality(comparison, task), *_users(comparison, task), _cost(comparison, task)]
    seeds = [_seeds(comparison, task)] if len({row.seed for row in comparison.rows}) > 1 else []
    return [found[0], *_beside(comparison, task), *found[1:], *seeds, *_diagnoses(comparison, task)]


def _quality(comparison: Comparison, task: str) -> Table:
    rows = [row for row in comparison.pooled if row.task == task]
    rankings = _rankings(comparison, task)
    tests = {(t.metric, t.a): t for t in comparison.comparisons if t.task == task and t.b == BASELINE}
    metrics = comparison.higher_is_better[task]
    columns = ["method"]
    for metric, higher in metrics.items():
        columns += [f"{metric} {'↑' if higher else '↓'}", f"vs {BASELINE}"]
    damage = ["side effects"] if NEUTRAL in comparison.likelihood_higher_is_better.get(task, ()) else []
    columns += ["regret rate", *damage, "worst decile", "parse failures", "status"]
    table = Table(f"{task}: scores", columns, [], set())
    for index, row in enumerate(rows):
        cells = [plain(row.label)]
        for metric in metrics:
            if standing(row, rankings.get(metric)) == "best":
                table.bold.add((index, len(cells)))
            cells += [_score(row, metric, rankings.get(metric)), _versus(tests.get((metric, row.label)))]
        regret = "–" if row.label == BASELINE else _regret(row)
        broken = [_broken(row)] if damage else []
        table.rows.append([*cells, regret, *broken, number(row.worst_decile), share(row.parse_failures), state(row)])
    return table


def _broken(row: Row) -> str:
    """By how much neutral texts are likelier and, in the line below, how many neutral questions are answered anew."""
    texts, answers = (row.likelihood.get(name) for name in (NEUTRAL, CHANGED))
    if texts is None or texts.vs_instruct is None:
        return "–"
    return f"{signed(texts.vs_instruct.difference)} nats" + (
        "" if answers is None else f",\n{share(answers.value)} changed"
    )


def _regret(row: Row) -> str:
    """The share of users who are worse off and, in the line below, by how much on average."""
    return share(row.regret_rate) + ("" if row.mean_loss is None else f",\nby {rounded(row.mean_loss)}")


MEASURE_TITLES = {
    "gold_nats": "gold nats/token",
    "label_accuracy": "label accuracy",
    "label_mae": "label MAE",
    "neutral_nats": "neutral nats/token",
    "neutral_changed": "neutral answers changed",
    "own_words": "own words",
    "copied": "copied",
}


def _beside(comparison: Comparison, task: str) -> list[Table]:
    """What is measured beside the metrics: how likely gold answers are, and whose words answers have."""
    measures, words = comparison.likelihood_higher_is_better.get(task, {}), {measure.name for measure in WORDS}
    groups = {
        "preference likelihood": [name for name in measures if name not in words],
        "the users' own words": [name for name in measures if name in words],
    }
    return [_measures(comparison, task, title, names) for title, names in groups.items() if names]


def _measures(comparison: Comparison, task: str, title: str, names: Sequence[str]) -> Table:
    """Nothing is marked as the best."""
    higher, timed = comparison.likelihood_higher_is_better[task], GOLD in names
    tests = {(t.metric, t.a): t for t in comparison.likelihood_tests if t.task == task and t.b == BASELINE}
    columns = ["method"]
    for name in names:
        columns += [f"{MEASURE_TITLES[name]} {'↑' if higher[name] else '↓'}", f"vs {BASELINE}"]
    table = Table(f"{task}: {title}", [*columns, "queries", *(["measuring"] if timed else [])], [], set())
    for row in (row for row in comparison.pooled if row.task == task and row.metrics):
        cells = [plain(row.label)]
        for name in names:
            score = row.likelihood.get(name)
            cells.append("–" if score is None else f"{number(score.value)}{_bounds(score.interval)}")
            cells.append(_versus(tests.get((name, row.label))))
        found = row.likelihood.get(names[0])
        spent = [] if not timed else ["–" if found is None else seconds(row.likelihood_seconds)]
        table.rows.append([*cells, str(found.queries) if found else "0", *spent])
    return table


def _rankings(comparison: Comparison, task: str) -> dict[str, Ranking]:
    return {ranking.metric: ranking for ranking in comparison.rankings if ranking.task == task}


def _score(row: Row, metric: str, ranking: Ranking | None) -> str:
    if metric not in row.metrics:
        return "–"
    tied = _TIED if standing(row, ranking) == "tied" else ""
    return f"{number(row.metrics[metric])}{tied}{_bounds(row.interval.get(metric))}"


def _bounds(interval: tuple[float, float] | None) -> str:
    return f"\n{bounds(interval)}" if interval else ""


def _versus(test: PairTest | None) -> str:
    if test is None:
        return "–"
    effect = "" if test.effect_size is None else f" (d {signed(test.effect_size, 2)})"
    blind = f",\nMDD {rounded(test.minimum_detectable)}" if test.p_holm >= ALPHA and test.minimum_detectable else ""
    luck = f",\n±{rounded(test.fits_error)} over {test.fits} fits" if test.fits_error else ""
    return f"{signed(test.difference)}{effect}{luck},\n{p_value(test.p_holm)}{blind}"


# ----------------------------------------------------------------------------------------------------------- for whom


def _users(comparison: Comparison, task: str) -> list[Table]:
    """How users fare by themselves and, where their histories differ in length, by that; none without answers."""
    rows = [row for row in comparison.pooled if row.task == task and row.metrics]
    if not rows:
        return []
    metric = next(iter(comparison.higher_is_better[task]))
    bins = history_bins(rows)
    alike = f", who all have {history_range(bins[0]).replace('item', 'history item')}" if len(bins) == 1 else ""
    columns = ["method", "mean per user", "quartiles"]
    columns += ["better off", "as before", "worse off", "gain quartiles"]
    table = Table(f"{task}: users by their own {metric}{alike}", columns, [], set())
    for row in rows:
        table.rows.append([*_named(table, row, comparison, metric), *_spread(row)])
    return [table, _by_history(comparison, task, rows, bins)] if len(bins) > 1 else [table]


def _spread(row: Row) -> list[str]:
    mean = number(row.per_user_mean)
    if row.label == BASELINE or row.gain_quartiles is None:
        return [mean, _quartiles(row.per_user_quartiles, number), *["–"] * 4]
    better, worse = row.better_rate or 0.0, row.regret_rate or 0.0
    shares = [share(better), share(1 - better - worse), share(worse)]
    return [mean, _quartiles(row.per_user_quartiles, number), *shares, _quartiles(row.gain_quartiles, signed)]


def _quartiles(values: Quartiles | None, show: Callable[[float], str]) -> str:
    return "–" if values is None else " / ".join(show(value) for value in values[1:4])


def _by_history(comparison: Comparison, task: str, rows: Sequence[Row], bins: Sequence[HistoryBin]) -> Table:
    metric, higher = next(iter(comparison.higher_is_better[task].items()))
    heads = [f"{history_range(found)}, {counted(found.users, 'user')}" for found in bins]
    title = f"{task}: {metric} {'↑' if higher else '↓'} by history items"
    table = Table(title, ["method", *heads], [], set())
    for row in rows:
        own = {found.low: found for found in row.by_history}
        table.rows.append(
            [*_named(table, row, comparison, metric), *(_binned(own.get(found.low), row.label) for found in bins)]
        )
    return table


def _binned(found: HistoryBin | None, label: str) -> str:
    if found is None:
        return "–"
    versus = "" if found.vs_instruct is None or label == BASELINE else f"\n{signed(found.vs_instruct)}"
    return f"{number(found.value)}{_bounds(found.interval)}{versus}"


def history_bins(rows: Sequence[Row]) -> list[HistoryBin]:
    """The bins that any of the rows has, each as the row with most of its users has it."""
    found: dict[int, HistoryBin] = {}
    for own in (own for row in rows for own in row.by_history):
        found[own.low] = max(own, found.get(own.low, own), key=lambda one: one.users)
    return [found[low] for low in sorted(found)]


def history_range(found: HistoryBin) -> str:
    """`no items`, `1 item`, `2–4 items`, `65+ items`."""
    if found.high is None:
        return f"{found.low}+ items"
    if found.low == found.high:
        return "1 item" if found.low == 1 else f"{found.low or 'no'} items"
    return f"{found.low}–{found.high} items"


# -------------------------------------------------------------------------------------------------------------- costs

_COSTS: dict[str, Callable[[Row], str]] = {
    "fit": lambda row: seconds(row.fit_seconds),
    "Pareto": lambda row: "✓" if row.on_front else "–",
    "one more user": lambda row: _marginal(row),
    "stored": lambda row: memory(row.fit_bytes),
    "stored per user": lambda row: "–" if row.bytes_per_user is None else memory(row.bytes_per_user),
    "users fitted": lambda row: str(row.users_fitted),
    "users served": lambda row: f"{row.users_served} of {row.users}",
    "samples used": lambda row: str(row.samples_used),
    "fit tokens": lambda row: f"{row.fit_tokens_in + row.fit_tokens_out:,}",
    "all tokens": lambda row: f"{row.tokens_in:,} in,\n{row.tokens_out:,} out",
    "answering": lambda row: seconds(row.eval_seconds),
    "peak memory": lambda row: memory(row.peak_memory_bytes),
    "leaks removed": lambda row: str(row.leaks_removed),
}


def _marginal(row: Row) -> str:
    if row.marginal_seconds is None or row.marginal_tokens is None or row.marginal_bytes is None:
        return "–"
    if row.serves_newcomers:
        return "nothing"
    return f"{seconds(row.marginal_seconds)},\n{row.marginal_tokens:,.0f} tokens,\n{memory(row.marginal_bytes)}"


def _cost(comparison: Comparison, task: str) -> Table:
    metric = next(iter(comparison.higher_is_better[task]))
    title = f"{task}: costs, with a budget of {seconds(comparison.spec.budget)} per fit"
    table = Table(title, ["method", *_COSTS], [], set())
    for row in comparison.pooled:
        if row.task == task:
            table.rows.append([*_named(table, row, comparison, metric), *(cost(row) for cost in _COSTS.values())])
    return table


def _named(table: Table, row: Row, comparison: Comparison, metric: str) -> list[str]:
    """The method's cell of the table's next row, marked as the best or tied with it by `metric`."""
    place = standing(row, _rankings(comparison, row.task).get(metric))
    if place == "best":
        table.bold.add((len(table.rows), 0))
    return [f"{plain(row.label)}{_TIED if place == 'tied' else ''}"]


# -------------------------------------------------------------------------------------------------------------- seeds


def _seeds(comparison: Comparison, task: str) -> Table:
    """Each seed by itself, marked by what all seeds together say."""
    metrics, rankings = comparison.higher_is_better[task], _rankings(comparison, task)
    table = Table(f"{task}: seeds", ["method", "seed", *metrics, "fit", "status"], [], set())
    for row in comparison.rows:
        if row.task != task:
            continue
        best = [metric for metric in metrics if metric in row.metrics and standing(row, rankings.get(metric)) == "best"]
        table.bold |= {(len(table.rows), 2 + list(metrics).index(metric)) for metric in best}
        scores = (_score(row, metric, rankings.get(metric)) for metric in metrics)
        table.rows.append([plain(row.label), str(row.seed), *scores, seconds(row.fit_seconds), state(row)])
    return table


# ---------------------------------------------------------------------------------------------------------- diagnoses


def _diagnoses(comparison: Comparison, task: str) -> list[Table]:
    """One table per title, with a line per cell that has a diagnosis of that title."""
    found: dict[str, list[tuple[Row, Diagnosis]]] = {}
    for row in comparison.rows:
        if row.task == task and row.diagnosis:
            found.setdefault(row.diagnosis.title, []).append((row, row.diagnosis))
    return [_diagnosis(f"{task}: {plain(title)}", cells) for title, cells in found.items()]


def _diagnosis(title: str, cells: Sequence[tuple[Row, Diagnosis]]) -> Table:
    names = list(dict.fromkeys(name for _, diagnosis in cells for name in diagnosis.values))
    columns = ["method", "seed", *(plain(name).replace("_", " ") for name in names)]
    rows = [
        [plain(row.label), str(row.seed), *(_evidence(diagnosis.values.get(name, "–")) for name in names)]
        for row, diagnosis in cells
    ]
    return Table(title, columns, rows, set())


def _evidence(value: float | str) -> str:
    if isinstance(value, str):
        return plain(value)
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"
