"""A table to choose by: each method against the model as it is, what it gains beside what it costs and breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.comparison import ALPHA, PairTest
from harness.analysis.preference_likelihood import BESIDE
from harness.formatting import bounds, listed, memory, number, plain, seconds, share, signed
from harness.registry import CONTROLS, control_of, is_control, method_of
from harness.reporting.comparison_tables import Table
from harness.reporting.losses import quoted
from harness.reproduction.result import Measured, Reproduction
from harness.specs.run_spec import BASELINE

_MEANING = (
    f"{BASELINE} is the model as it is, with its values; the others are differences from it, in brackets the 95% "
    "interval over users, without correction. Bold is beyond chance, gains and losses alike, after correction for all "
    "tests of that kind in the experiment; the claims below correct for fewer, so that the same difference has another "
    "p there. Arrows say which way is better, except of what is copied: fewer words from the question are neither good "
    "nor bad. Better and worse off: users by the first metric. Learned from: users whose examples the fit used before "
    "its time was up; all are scored. Stored: what the fit keeps for all users together. What does not beat its "
    "controls has not shown that it personalizes."
)
_UNREAD = "Unread answers are none to the task, and score as the worst."


def how_to_read(results: Sequence[Reproduction]) -> str:
    """What the tables mean, and which of their methods the controls are of."""
    controls: dict[str, list[str]] = {}
    for label in dict.fromkeys(row.label for result in results for row in result.rows):
        if method := control_of(label):
            controls.setdefault(method, []).append(label)
    own = [f"Controls of {method}: {listed(labels)}." for method, labels in controls.items()]
    unread = [_UNREAD] if any(row.parse_failures for result in results for row in result.rows) else []
    return " ".join(
        [_MEANING, *unread, *own, *(f"{label}: {summary}" for label, summary in _of_nobody(results).items())]
    )


def _of_nobody(results: Sequence[Reproduction]) -> dict[str, str]:
    """What the controls do that are of no method in particular."""
    labels = dict.fromkeys(row.label for result in results for row in result.rows)
    names = dict.fromkeys(method_of(label) for label in labels if is_control(label) and not control_of(label))
    return {name: CONTROLS.summary(name) for name in names}


def glance(result: Reproduction, task: str, names: Mapping[str, str]) -> Table:
    """Of the first model, by the task's first metric and all that is measured beside; the best first, controls last."""
    model = next(iter(result.models))
    rows = [row for row in result.rows if (row.model, row.task) == (model, task)]
    main = rows[0]
    shown = {main.metric, *BESIDE}
    metrics = list(dict.fromkeys((row.metric, row.higher_is_better) for row in rows if row.metric in shown))
    found = {(row.label, row.metric): row for row in rows}
    tests = {(test.a, test.metric): test for test in result.tests if (test.task, test.b) == (task, BASELINE)}
    heads = [f"{names.get(metric, metric)} {'↑' if higher else '↓'}" for metric, higher in metrics]
    unread = ["unread answers ↓"] if any(row.parse_failures for row in rows) else []
    columns = ["method", *heads, *unread, "users better off", "worse off", "learned from", "fit", "stored"]
    title = f"{names.get(task, task)}: what {model} gains and loses by each method"
    table = Table(title, columns, [], set())
    for row in sorted((row for row in rows if row.metric == main.metric), key=_place):
        told = [tests.get((row.label, metric)) for metric, _ in metrics]
        own = [found.get((row.label, metric)) for metric, _ in metrics]
        table.bold |= {(len(table.rows), 1 + n) for n, test in enumerate(told) if test and test.p_holm < ALPHA}
        label = f"control: {row.label}" if is_control(row.label) else row.label
        label += "" if row.sole_answer is None else f", always {quoted(row.sole_answer)}"
        label += ", overran" if row.status == "overran" else ""
        first, *beside = map(_against, own, told)
        lost = [share(row.parse_failures)] if unread else []
        table.rows.append([plain(label), first + _range(row), *beside, *lost, *_costs(row)])
    return table


def _place(row: Measured) -> tuple[bool, bool, float]:
    value = float("-inf") if row.value is None else row.value if row.higher_is_better else -row.value
    return is_control(row.label), row.label != BASELINE, -value


def _against(row: Measured | None, test: PairTest | None) -> str:
    if row is not None and row.status in ("failed", "interrupted"):
        return row.status
    if row is not None and row.label == BASELINE:
        return number(row.value)
    return "–" if test is None else signed(test.difference)


def _range(row: Measured) -> str:
    """The interval of the difference from instruct, which an improvement has the sign of where higher is better."""
    if row.label == BASELINE or row.improvement_interval is None:
        return ""
    low, high = row.improvement_interval
    return " " + bounds((low, high) if row.higher_is_better else (-high, -low))


def _costs(row: Measured) -> Sequence[str]:
    stored = "" if row.fit_bytes is None else memory(row.fit_bytes)
    rates = ["", ""] if row.label == BASELINE else [share(row.better_rate), share(row.regret_rate)]
    return [*rates, str(row.users_fitted), seconds(row.fit_seconds), stored]
