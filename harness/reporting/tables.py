"""The tables of a comparison, as text: what every method scored, what it cost, and each seed by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.analysis.comparison import ALPHA, BASELINE, Comparison, PairTest, Ranking, Row
from harness.reporting.formatting import memory, number, p_value, plain, seconds, share


@dataclass
class Table:
    """Cells as text, lines in them separated by a line feed; `bold` holds (row, column)."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    bold: set[tuple[int, int]]


def tables(comparison: Comparison, task: str) -> list[Table]:
    """Of one task: what was scored, what it cost and, with several seeds, each seed's scores."""
    found = [_quality(comparison, task), _cost(comparison, task)]
    return [*found, _seeds(comparison, task)] if len({row.seed for row in comparison.rows}) > 1 else found


def _quality(comparison: Comparison, task: str) -> Table:
    rows = [row for row in comparison.pooled if row.task == task]
    rankings = {ranking.metric: ranking for ranking in comparison.rankings if ranking.task == task}
    tests = {(t.metric, t.a): t for t in comparison.comparisons if t.task == task and t.b == BASELINE}
    metrics = comparison.higher_is_better[task]
    columns = ["method"]
    for metric, higher in metrics.items():
        columns += [f"{metric} {'↑' if higher else '↓'}", f"vs {BASELINE}"]
    columns += ["regret rate", "worst decile", "parse failures", "status"]
    table = Table(f"{task}: scores", columns, [], set())
    for index, row in enumerate(rows):
        cells = [plain(row.label)]
        for metric in metrics:
            if metric in rankings and rankings[metric].best == row.label:
                table.bold.add((index, len(cells)))
            cells += [_score(row, metric, rankings.get(metric)), _versus(tests.get((metric, row.label)))]
        regret = "–" if row.label == BASELINE else share(row.regret_rate)
        worst = "–" if row.worst_decile is None else number(row.worst_decile)
        table.rows.append([*cells, regret, worst, share(row.parse_failures), row.status.replace("_", " ")])
    return table


def _score(row: Row, metric: str, ranking: Ranking | None) -> str:
    if metric not in row.metrics:
        return "–"
    tied = " ≈" if ranking and row.label in ranking.tied else ""
    bounds = "\n[{:.3f}, {:.3f}]".format(*row.interval[metric]) if metric in row.interval else ""
    return f"{number(row.metrics[metric])}{tied}{bounds}"


def _versus(test: PairTest | None) -> str:
    if test is None:
        return "–"
    blind = f",\nMDD {test.minimum_detectable:.2g}" if test.p_holm >= ALPHA and test.minimum_detectable else ""
    return f"{test.difference:+.3f},\n{p_value(test.p_holm)}{blind}"


_COSTS: dict[str, Callable[[Row], str]] = {
    "fit": lambda row: seconds(row.fit_seconds),
    "answering": lambda row: seconds(row.eval_seconds),
    "users fitted": lambda row: str(row.users_fitted),
    "users served": lambda row: f"{row.users_served} of {row.users}",
    "samples used": lambda row: str(row.samples_used),
    "tokens in": lambda row: f"{row.tokens_in:,}",
    "tokens out": lambda row: f"{row.tokens_out:,}",
    "peak memory": lambda row: memory(row.peak_memory_bytes),
    "leaks removed": lambda row: str(row.leaks_removed),
}


def _cost(comparison: Comparison, task: str) -> Table:
    rows = [row for row in comparison.pooled if row.task == task]
    cells = [[plain(row.label), *(cost(row) for cost in _COSTS.values())] for row in rows]
    return Table(
        f"{task}: costs, with a budget of {seconds(comparison.spec.budget)} per fit", ["method", *_COSTS], cells, set()
    )


def _seeds(comparison: Comparison, task: str) -> Table:
    metrics = comparison.higher_is_better[task]
    rows = [row for row in comparison.rows if row.task == task]
    cells = [
        [
            *(plain(row.label), str(row.seed)),
            *(_score(row, metric, None) for metric in metrics),
            *(seconds(row.fit_seconds), row.status.replace("_", " ")),
        ]
        for row in rows
    ]
    return Table(f"{task}: seeds", ["method", "seed", *metrics, "fit", "status"], cells, set())
