"""From cells to one comparison: metrics, intervals, paired tests, costs, and who ties with the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis import stats
from harness.analysis.comparison import Comparison, PairTest, Row
from harness.analysis.costs import marginal, storage, with_front, with_reach
from harness.analysis.for_whom import distribution, user_scores, with_gains
from harness.analysis.paired_tests import Entry, Metrics, rank, run_tests, versus_instruct
from harness.analysis.preference_likelihood import GOLD, GROUPS, measured, read_measures, with_measures
from harness.analysis.scores import Scores, pool, score
from harness.api import HarnessError, Metric, Status
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.running import checkpoints
from harness.specs.run_spec import BASELINE, RunSpec

_SEVERITY: tuple[Status, ...] = ("complete", "budget_exhausted", "overran", "interrupted", "failed")
_MEANS = ("fit_seconds", "budget_seconds", "eval_seconds", "likelihood_seconds")
_ROUNDED_MEANS = (
    *("queries", "users", "users_fitted", "users_served", "samples_used", "tokens_in", "tokens_out"),
    *("fit_tokens_in", "fit_tokens_out", "fit_bytes", "likelihood_tokens"),
    *("leaks_removed", "prompts_shortened", "prompts_emptied", "unanswerable", "records_skipped"),
    *("items_found", "items_skipped"),
)


@dataclass(frozen=True)
class Cell:
    """A record and what its answers scored; None where there are no answers."""

    record: CellRecord
    scores: Scores | None
    notes: tuple[str, ...] = ()  # on its answers
    measured: tuple[Scores | None, ...] = (None,) * len(GROUPS)  # beside the metrics, by group
    points: tuple[checkpoints.Point, ...] = ()  # evaluations of the fit on its way


def read_cells(store: Store, metrics: Metrics) -> tuple[list[Cell], list[str]]:
    """(the store's cells, notes). Of several records of one cell, left by a change of code, the newest counts."""
    newest: dict[tuple[str, str, int], CellRecord] = {}
    notes: list[str] = []
    known = [record for record in store.records() if record.spec.task in metrics]
    for record in sorted(known, key=lambda record: record.started_at):
        if newest.get(_key(record)) is not None:
            notes.append(f"{record.spec.in_words}, has several records: the newest counts.")
        newest[_key(record)] = record
    return [_read(store, record, metrics, notes) for record in newest.values()], notes


def compare(spec: RunSpec, cells: Iterable[Cell], metrics: Metrics, notes: Iterable[str] = ()) -> Comparison:
    """Compare all cells of a run; `metrics` holds each task's, the main one first. A failed cell is a row as well."""
    ordered = sorted(cells, key=lambda cell: _position(spec, cell.record))
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in ordered:
        groups.setdefault(_key(cell.record)[:2], []).append(cell)
    entries = _completed([_entry(group, metrics) for group in groups.values()], metrics)
    tests = run_tests(entries, metrics)
    pooled, likelihood_tests = with_measures(with_reach(entries, tests, metrics))
    return Comparison(
        spec=spec,
        higher_is_better={task: {m.name: m.higher_is_better for m in metrics[task]} for task in spec.tasks},
        rows=_seed_rows(ordered, pooled, tests, metrics),
        pooled=[_versus(entry.row, tests) for entry in pooled],
        comparisons=tests,
        rankings=rank(pooled, tests, metrics),
        likelihood_higher_is_better={
            task: {measure.name: measure.higher_is_better for measure in found}
            for task, found in measured(pooled).items()
        },
        likelihood_tests=likelihood_tests,
        notes=list(dict.fromkeys([*notes, *_notes(spec, ordered, tests), *_unmeasured(ordered, pooled)])),
        users=user_scores(pooled, metrics),
    )


def _key(record: CellRecord) -> tuple[str, str, int]:
    return record.spec.task, record.spec.label, record.spec.seed


def _read(store: Store, record: CellRecord, metrics: Metrics, notes: list[str]) -> Cell:
    if not record.answered:
        return Cell(record, None)
    try:
        samples = store.samples(record.spec)
        scores = score(samples, metrics[record.spec.task]) if len(samples) else None
        beside = read_measures(samples)
        anytime = checkpoints.read(store, record.spec) if record.spec.marks else None
    except (HarnessError, KeyError, ValueError) as error:
        kind = type(error.__cause__ or error).__name__
        notes.append(
            f"{record.spec.in_words}, is left out: its samples cannot be read ({kind}). Repeat the command that made "
            "them to compute it again."
        )
        return Cell(record, None)
    values = scores.values(metrics[record.spec.task]) if scores else {}
    if any(not math.isclose(record.metrics.get(key, math.nan), x, abs_tol=1e-9) for key, x in values.items()):
        notes.append(f"{record.spec.in_words}, has a record that disagrees with its samples; the samples count.")
    notes_on_golds = _unscorable(samples["gold"], record.spec.task, metrics[record.spec.task])
    return Cell(record, scores, notes_on_golds, beside, tuple(anytime.points) if anytime else ())


def _unscorable(golds: Iterable[Any], task: str, metrics: Sequence[Metric]) -> tuple[str, ...]:
    """What a reader must know of golds with which every answer scores the same."""
    texts = [str(gold) for gold in golds]
    lost = {metric.name: sum(not metric.can_score(text) for text in texts) for metric in metrics}
    return tuple(
        f"{task}: {count} of {len(texts)} gold answers have nothing that {name} could compare, for instance no word in "
        "its alphabet, so that every answer to them scores the same."
        for name, count in lost.items()
        if count
    )


def _reason(record: CellRecord, lost: bool) -> str:
    """Why a cell ended as it did or, where its answers are `lost` although it has some, that they are."""
    return "its samples cannot be read" if lost and record.answered else record.reason


def _position(spec: RunSpec, record: CellRecord) -> tuple[int, int, str, int]:
    """The order of the command line: tasks, then methods, then seeds."""
    tasks, methods = list(spec.tasks), [method.label for method in spec.methods]
    task, label, seed = _key(record)
    return (
        tasks.index(task) if task in tasks else len(tasks),
        methods.index(label) if label in methods else len(methods),
        label,
        seed,
    )


# --------------------------------------------------------------------------------------------------------------- rows


def _entry(cells: Sequence[Cell], metrics: Metrics) -> Entry:
    """A method's seeds as one row: scores averaged per query, costs over the seeds with answers, the worst status."""
    answered = {cell.record.spec.seed: cell.scores for cell in cells if cell.scores is not None}
    records = [cell.record for cell in cells if cell.scores is not None or not answered]
    lost = [cell.record for cell in cells if cell.scores is None and answered]
    spec, scores = records[0].spec, pool(answered) if answered else None
    reasons = [_reason(record, not answered) for record in records]
    reasons += [f"seed {record.spec.seed} {record.status}: {_reason(record, True)}" for record in lost]
    fields: dict[str, Any] = {name: _mean(records, name) for name in _MEANS}
    fields |= {name: round(_mean(records, name)) for name in _ROUNDED_MEANS} | storage(records) | marginal(records)
    if all(record.users_known is not None for record in records):
        fields["users_known"] = round(_mean(records, "users_known"))
    for name in ("examples_too_long", "identical_outputs"):
        fields[name] = round(sum(r.counts.get(name, 0) for r in records) / len(records))
    fields["not_finite"] = round(max(r.counts.get("not_finite", 0) for r in records))
    if scores:
        fields |= _quality(scores, metrics[spec.task]) | {"parse_failures": _mean(records, "parse_failures")}
        fields["sole_answer"] = scores.sole_answer
        fields["unread_answer"] = next((text for text, _ in scores.unread.most_common(1)), None)
    row = Row(
        task=spec.task,
        method=spec.method,
        variant=spec.variant,
        seed=None,
        seeds=[cell.record.spec.seed for cell in cells if cell.scores is not None],
        status=max((record.status for record in records), key=_SEVERITY.index),
        reason="; ".join(dict.fromkeys(reason for reason in reasons if reason)),
        attempts=max(record.attempts for record in records),
        peak_memory_bytes=max(record.peak_memory_bytes for record in records),
        diagnosis=records[0].diagnosis if len(records) == 1 else None,
        **fields,
    )
    beside = tuple(_pooled(cells, group) for group in range(len(GROUPS)))
    main = metrics[spec.task][0].name
    return Entry(row, scores, beside, tuple(_curve(cell, main) for cell in cells if cell.scores is not None))


def _curve(cell: Cell, metric: str) -> tuple[tuple[float, float], ...]:
    """(seconds until an answer was ready, its score) of a fit's checkpoints and of the whole fit."""
    whole = (cell.record.fit_seconds, cell.record.metrics.get(metric, math.nan))
    return (*((p.ready, p.metrics[metric]) for p in cell.points if metric in p.metrics and not p.annealed), whole)


def _pooled(cells: Sequence[Cell], group: int) -> Scores | None:
    found = {cell.record.spec.seed: scores for cell in cells if (scores := cell.measured[group]) is not None}
    return pool(found) if found else None


def _mean(records: Sequence[CellRecord], field: str) -> float:
    return float(sum(getattr(record, field) for record in records) / len(records))


def _quality(scores: Scores, metrics: Sequence[Metric]) -> dict[str, Any]:
    intervals = {m.name: stats.interval(scores.statistics[m.name], scores.users, m.value) for m in metrics}
    return {
        "metrics": scores.values(metrics),
        "interval": {name: bounds for name, bounds in intervals.items() if math.isfinite(bounds[0])},
        "queries": len(scores.queries),
        **distribution(scores, metrics[0]),
    }


def _completed(entries: Sequence[Entry], metrics: Metrics) -> list[Entry]:
    """Fill in what a row says relative to others: gains over instruct, and the Pareto front."""
    return with_front(with_gains(entries, metrics), metrics)


def _seed_rows(
    cells: Sequence[Cell], pooled: Sequence[Entry], tests: Sequence[PairTest], metrics: Metrics
) -> list[Row]:
    """One row per cell. Each seed is tested as if the run had no other, so with one seed the pooled tests serve."""
    seeds = sorted({cell.record.spec.seed for cell in cells})
    if len(seeds) < 2:
        return [_versus(entry.row.model_copy(update={"seed": seeds[0]}), tests) for entry in pooled]
    rows = {}
    for seed in seeds:
        chosen = [cell for cell in cells if cell.record.spec.seed == seed]
        entries = _completed([_entry([cell], metrics) for cell in chosen], metrics)
        own = run_tests(entries, metrics, others=False)
        reached = with_reach(entries, own, metrics)
        for cell, entry in zip(chosen, with_measures(reached, others=False)[0], strict=True):
            rows[_key(cell.record)] = _versus(entry.row.model_copy(update={"seed": seed}), own)
    return [rows[_key(cell.record)] for cell in cells]


def _versus(row: Row, tests: Sequence[PairTest]) -> Row:
    same = [test.same_answers for test in tests if (test.task, test.a, test.b) == (row.task, row.label, BASELINE)]
    return row.model_copy(
        update={"vs_instruct": versus_instruct(row, tests), "same_as_instruct": all(same) if same else None}
    )


# -------------------------------------------------------------------------------------------------------------- notes


def _notes(spec: RunSpec, cells: Sequence[Cell], tests: Sequence[PairTest]) -> list[str]:
    found = {_key(cell.record) for cell in cells}
    answered = {_key(cell.record)[:2] for cell in cells if cell.scores is not None}
    notes = [note for cell in cells for note in (*cell.record.notes, *cell.notes)]
    for task in spec.tasks:
        if (task, BASELINE) not in answered:
            notes.append(f"There is no answer of {BASELINE} on {task}: nothing there can be compared with it.")
        for label in [method.label for method in spec.methods]:
            absent = [str(seed) for seed in spec.seeds if (task, label, seed) not in found]
            if absent:
                notes.append(f"{label} on {task} has no record yet for seed {', '.join(absent)}.")
    return notes + _differing(cells, tests)


def _unmeasured(cells: Sequence[Cell], entries: Sequence[Entry]) -> list[str]:
    """Whose gold answers have no likelihood though it was to be measured."""
    asked = {_key(cell.record)[:2] for cell in cells if cell.record.spec.likelihood}
    notes = []
    for row in [entry.row for entry in entries if (entry.row.task, entry.row.label) in asked and entry.row.metrics]:
        found = row.likelihood[GOLD].queries if GOLD in row.likelihood else 0
        lost = row.queries - found - row.not_finite  # of what is not finite, `losses` tells
        if lost == row.queries:
            notes.append(
                f"{row.label} on {row.task} has no likelihood of gold answers: it answers without the model, or none "
                "of them fits the context after its prompt."
            )
        elif lost > 0:
            notes.append(
                f"{lost} of {row.queries} gold answers to {row.label} on {row.task} have no likelihood: "
                "they do not fit the context after its prompt."
            )
    return notes


def _differing(cells: Sequence[Cell], tests: Sequence[PairTest]) -> list[str]:
    most: dict[str, int] = {}
    for cell in cells:
        if cell.scores is not None:
            task = cell.record.spec.task
            most[task] = max(most.get(task, 0), len(cell.scores.queries))
    return [
        f"{test.a} and {test.b} answered different queries of {test.task}: "
        f"they are compared on the {test.queries} that both answered."
        for test in tests
        if test.queries < most[test.task]
    ]
