"""The paper's tables and the numbers behind its figures, as text, in the paper's own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.formatting import bounds, listed, number, p_value, plain, rounded, seconds, share, signed
from harness.reporting.comparison_tables import Table
from harness.reproduction.result import ClaimTest, Measured, Reproduction
from harness.reproduction.verdicts import method, subject
from harness.specs.run_spec import BASELINE

_SCORES = "Bold: best. ≈: not told apart from the best. [ ]: 95% interval, bootstrap over users."
_GAINS = (
    "Whatever is measured, what is above 0 is better: +0.05 of copied is 0.05 less. [ ]: 95% interval, bootstrap over "
    "users."
)
_REPORTED = (
    " Rows marked reported are the paper's, measured by its authors on another model and other data; what is marked "
    "added it does not show."
)
_WIDEST = 10  # columns of methods that still can be read


def main_table(result: Reproduction, names: Mapping[str, str]) -> Table:
    """The table in the paper's layout, ours above the reported numbers; of a figure, the points it draws.

    With more methods than the paper's layout can hold, they are the rows. The title names the tasks that the data lack.
    """
    several = len(result.layout.columns) * len(result.models) > _WIDEST
    if result.layout.kind == "table":
        table = _turned(result, names) if several else _printed(result, names)
    else:
        table = _points(result, names)
    if result.left_out:
        table.title += f" (without {listed([names.get(task, task) for task in result.left_out])})"
    return table


def legend(result: Reproduction) -> str:
    """How to read `main_table`."""
    told = _GAINS if result.layout.kind == "columns" else _SCORES
    return told + (_REPORTED if result.layout.kind == "table" else "")


def claims_table(tests: Sequence[ClaimTest]) -> Table:
    """Every comparison behind a claim."""
    columns = ["comparison", "gain", "p after Holm", "minimum detectable"]
    columns += ["reported gain", "p if it were true", "test", "verdict"]
    rows = [
        [
            plain(subject(test)),
            signed(test.gain) if test.kind == "pair" else f"L {test.gain:+.4g}",
            p_value(test.p_holm),
            rounded(test.minimum_detectable),
            signed(test.reported_gain),
            "–" if test.p_reported is None else p_value(test.p_reported),
            method(test).removeprefix("the "),
            test.verdict,
        ]
        for test in tests
    ]
    return Table("The comparisons behind the claims; a positive gain goes the claim's way", columns, rows, set())


def costs_table(result: Reproduction) -> Table:
    """What each fit cost and how far it came."""
    axis = [result.layout.label] if result.layout.axis else []
    shown = {(row.model, row.point, row.task, row.label): row for row in result.rows}
    told = any(row.regret_rate is not None for row in result.rows)  # earlier records do not tell it
    rows = [
        [
            *(row.model, row.task, *([row.tick] if axis else []), plain(row.label)),
            *(seconds(row.fit_seconds), seconds(row.eval_seconds), str(row.users_fitted), str(row.samples_used)),
            *([share(row.better_rate), share(row.regret_rate)] if told else []),
            row.status.replace("_", " "),
        ]
        for row in shown.values()
    ]
    columns = ["model", "task", *axis, "method", "fit", "answering", "users fitted", "samples used"]
    columns += [*(["users better off", "users worse off"] if told else []), "status"]
    return Table("What it cost", columns, rows, set())


def _printed(result: Reproduction, names: Mapping[str, str]) -> Table:
    columns = result.layout.methods
    several = len(result.models) > 1
    heads = [f"{column.title}, {model}" if several else column.title for model in result.models for column in columns]
    table = Table(result.heading, ["Dataset", "Metric", "", *heads], [], set())
    rows = {(row.model, row.task, row.metric, row.label): row for row in result.rows}
    for task, metric, higher in dict.fromkeys((row.task, row.metric, row.higher_is_better) for row in result.rows):
        cells = [rows.get((model, task, metric, column.method)) for model in result.models for column in columns]
        table.bold |= {(len(table.rows), 3 + place) for place, row in enumerate(cells) if row and row.best}
        title = f"{names.get(metric, metric)} {'↑' if higher else '↓'}"
        table.rows.append([names.get(task, task), title, "measured", *map(_score, cells)])
        if any(row and row.reported is not None for row in cells):
            who = "reported" if several else f"reported, {next(iter(result.models.values()))}"
            table.rows.append(["", "", who, *map(_reported, cells)])
    return table


def _turned(result: Reproduction, names: Mapping[str, str]) -> Table:
    """A row per method, then one per method that the paper reports."""
    pairs = list(dict.fromkeys((row.task, row.metric, row.higher_is_better) for row in result.rows))
    heads = [f"{names.get(task, task)} {names.get(name, name)} {'↑' if up else '↓'}" for task, name, up in pairs]
    table = Table(result.heading, ["method", *heads], [], set())
    rows = {(row.model, row.label, row.task, row.metric): row for row in result.rows}
    reported = []
    for model in result.models:
        for column in result.layout.methods:
            cells = [rows.get((model, column.method, task, metric)) for task, metric, _ in pairs]
            title = column.title + (f", {model}" if len(result.models) > 1 else "")
            table.bold |= {(len(table.rows), 1 + place) for place, row in enumerate(cells) if row and row.best}
            table.rows.append([title, *map(_score, cells)])
            if any(row and row.reported is not None for row in cells):
                reported.append([f"{title}, reported", *map(_reported, cells)])
    table.rows += reported
    return table


def _points(result: Reproduction, names: Mapping[str, str]) -> Table:
    pairs = list(dict.fromkeys((row.task, row.metric, row.higher_is_better) for row in result.rows))
    arrows = {True: " ↑", False: " ↓"} if result.layout.kind == "lines" else {}  # an improvement is better upwards
    heads = [f"{names.get(task, task)} {names.get(name, name)}{arrows.get(up, '')}" for task, name, up in pairs]
    table = Table(result.heading, ["model", result.layout.label, "method", *heads], [], set())
    shown = dict.fromkeys((row.model, row.tick, row.label) for row in result.rows)
    rows = {(row.model, row.tick, row.label, row.task, row.metric): row for row in result.rows}
    titles = {column.method: column.title for column in result.layout.methods}
    for model, tick, label in shown:
        cells = [rows.get((model, tick, label, task, metric)) for task, metric, _ in pairs]
        table.bold |= {(len(table.rows), 3 + place) for place, row in enumerate(cells) if row and row.best}
        text = [_improvement(row) if result.layout.kind == "columns" else _score(row) for row in cells]
        table.rows.append([model, tick, plain(titles[label]), *text])
    if result.layout.kind == "columns":
        table.title += f": improvement over {BASELINE}"
        table.bold = set()
    return table


def _score(row: Measured | None) -> str:
    if row is None or row.value is None:
        return row.status if row is not None and row.status in ("failed", "interrupted") else "–"
    interval = f"\n{bounds(row.interval)}" if row.interval else ""
    return f"{number(row.value)}{' ≈' if row.tied else ''}{interval}"


def _reported(row: Measured | None) -> str:
    return "–" if row is None or row.reported is None else number(row.reported)


def _improvement(row: Measured | None) -> str:
    if row is None or row.improvement is None:
        return "–"
    interval = f"\n{bounds(row.improvement_interval, signed)}" if row.improvement_interval else ""
    return f"{signed(row.improvement)}{interval}"
