"""What the pages show: records as table rows."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.leaderboards.record_schema import Record, Result, Score, Test

ALPHA = 0.05
INSTRUMENTS = ("tiny-llama", "tiny-t5")  # embedded models, trained on a synthetic world
REMARKS = {  # what a reader must know of a real model
    "smollm2-135m": (
        "SmolLM2-135M-Instruct is small: 135M parameters, a fiftieth of the paper's models. What fails here may work "
        "on a larger one, and what it writes about its users is poor."
    )
}
_SHOWN = ("likelihood", "methods", "tasks", "model", "regime", "budget", "seeds")
Axes = dict[tuple[bool, str, str], tuple[float, float]]  # whether of instruments, task, metric
_UNRANKED = ("overran", "failed", "interrupted")


@dataclass(frozen=True)
class Cell:
    """A metric in a table: its number, how it stands in its run, and the task's axis on which its interval lies."""

    metric: str
    higher: bool
    score: Score
    mark: str = ""  # best, tied
    axis: tuple[float, float] = (0.0, 1.0)

    @property
    def verdict(self) -> str:
        """As `verdict_of` the test against instruct."""
        return self.verdict_of(self.score.vs_instruct)

    def verdict_of(self, test: Test | None) -> str:
        """better or worse beyond chance, else empty; to copy more or fewer words is neither."""
        if test is None or test.p_holm >= ALPHA or test.difference == 0 or self.metric == "copied":
            return ""
        return "better" if (test.difference > 0) == self.higher else "worse"

    def place(self, value: float) -> float:
        """Per cent of the axis, from the left."""
        low, high = self.axis
        return round(100 * (value - low) / (high - low), 2) if high > low else 50.0


@dataclass(frozen=True)
class Row:
    """A method on a task in a run; `cells` has the task's metrics, the main one first, and none for a failed fit."""

    record: Record
    result: Result
    cells: tuple[Cell, ...]
    likelihood: tuple[Cell, ...] = ()  # how likely the gold answers are: no metric of the task, and never ranked

    @property
    def page(self) -> str:
        """Name of the method's page."""
        return slug(self.result.label)

    @property
    def instrument(self) -> bool:
        """Whether it stands apart from the real models."""
        return is_instrument(self.record)

    @property
    def beside(self) -> dict[str, Cell]:
        """What is measured beside the metrics, by name."""
        return {cell.metric: cell for cell in self.likelihood}

    @property
    def controls(self) -> list[str]:
        """Labels of the controls that the run tested it against."""
        return list(
            dict.fromkeys(label for cell in (*self.cells, *self.likelihood) for label in cell.score.vs_controls)
        )

    @property
    def beats_controls(self) -> bool:
        """Whether it ranks and is better than each of `controls` by the main metric, beyond chance."""
        tests = self.cells[0].score.vs_controls if self.ranks and self.cells else {}
        return bool(tests) and all(self.cells[0].verdict_of(tests.get(label)) == "better" for label in self.controls)

    @property
    def ranks(self) -> bool:
        """Whether the row takes part in its run's ranking."""
        return self.result.status not in _UNRANKED


def rows(records: Iterable[Record]) -> list[Row]:
    """Real models first; by task, then run by run in the order of `records`, each run's best first."""
    found = [_row(record, result) for record in records for result in record.results]
    axes = _axes(found)
    placed = [replace(row, cells=_on(axes, row, row.cells), likelihood=_on(axes, row, row.likelihood)) for row in found]
    runs = list(dict.fromkeys(row.record.id for row in placed))
    return sorted(placed, key=lambda row: (row.instrument, row.result.task, runs.index(row.record.id), _quality(row)))


def departures(records: Iterable[Record]) -> dict[str, str]:
    """By record, the settings in which its run departs from most others, but for those that every row shows anyway.

    The others are those of real models, or of test instruments: what is usual for one is not for the other.
    """
    groups: dict[bool, dict[str, dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(is_instrument(record), {})[record.id] = flat(record.setting.everything)
    return {name: text for settings in groups.values() for name, text in _departures(settings).items()}


def is_instrument(record: Record) -> bool:
    """Whether a run's model is an embedded one, which is no evidence about real models."""
    return record.setting.model in INSTRUMENTS


def _departures(settings: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    found = dict.fromkeys(key for own in settings.values() for key, value in own.items() if value != {})
    keys = [key for key in found if key not in _SHOWN]
    usual = {key: Counter(str(own.get(key)) for own in settings.values()).most_common(1)[0][0] for key in keys}
    return {
        name: ", ".join(
            f"{key.removeprefix('overrides.')} {own.get(key)}" for key in keys if str(own.get(key)) != usual[key]
        )
        for name, own in settings.items()
    }


def slug(label: str) -> str:
    """A file name for a method's label: readable, safe, and different for different labels on any file system."""
    if re.fullmatch(r"[a-z0-9_]+", label):
        return label
    words = re.sub(r"[^a-z0-9_]+", "-", label.lower()).strip("-")[:60]
    return f"{words}-{hashlib.sha256(label.encode()).hexdigest()[:8]}".lstrip("-")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def _row(record: Record, result: Result) -> Row:
    marks = {ranking.metric: ranking for ranking in record.rankings if ranking.task == result.task}
    cells = []
    for metric, higher in record.higher_is_better[result.task].items():
        ranking = marks.get(metric)
        mark = "best" if ranking and ranking.best == result.label else ""
        mark = "tied" if ranking and result.label in ranking.tied else mark
        if metric in result.scores:
            cells.append(Cell(metric, higher, result.scores[metric], mark))
    directions = record.likelihood_higher_is_better.get(result.task, {})
    likelihood = [Cell(name, directions[name], score) for name, score in result.likelihood.items()]
    return Row(record, result, tuple(cells), tuple(likelihood))


def _on(axes: Axes, row: Row, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple(replace(cell, axis=axes[row.instrument, row.result.task, cell.metric]) for cell in cells)


def _axes(found: Iterable[Row]) -> Axes:
    """The span of all intervals of a task's metric, of real models and of test instruments."""
    ends: dict[tuple[bool, str, str], list[float]] = {}
    for row in found:
        for cell in (*row.cells, *row.likelihood):
            values = (cell.score.value, cell.score.low, cell.score.high)
            ends.setdefault((row.instrument, row.result.task, cell.metric), []).extend(
                v for v in values if v is not None
            )
    return {key: (min(values), max(values)) for key, values in ends.items()}


def _quality(row: Row) -> tuple[bool, bool, float]:
    """What does not rank comes after what does, whatever it scores."""
    if not row.cells:
        return True, True, 0.0
    main = row.cells[0]
    return False, not row.ranks, -main.score.value if main.higher else main.score.value
