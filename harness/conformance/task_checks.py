"""What every task promises, checked: for `harness tasks validate` and for the tests of whoever writes a task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import get_args

import numpy as np

from harness.api import HistoryItem, Metric, SummaryStrategy, Task, TaskData
from harness.running.task_data import are_texts

_ANSWER = "Your answer:"
_QUERY = "a new text without an answer"
_INSIGHT = "what the insight says"
_NOTE = "what the note says"
_GARBAGE = ("", "?!", "no answer of any kind")
_SHOWN = 3


def check_task(task: Task, data: TaskData) -> list[str]:
    """Problems, one sentence each, of a task with data that it loaded; empty if it keeps its promises.

    Answers: labels and golds parse to themselves and score perfectly (1 if higher is better, else 0); only the first
    line counts. Prompts: their parts are there, in the paper's order (Appendix A.3). Data: ids fit together.
    """
    problems: list[str] = []
    checks: tuple[Callable[[Task, TaskData], Iterator[str]], ...] = (_data, _answers, _metrics, _supervision, _prompts)
    for check in checks:
        try:
            problems += check(task, data)
        except Exception as error:  # whatever a third party's task raises is a finding, and the other checks still run
            problems.append(f"{check.__name__.strip('_')}: raised {type(error).__name__}: {error}")
    return problems


def _data(task: Task, data: TaskData) -> Iterator[str]:
    ids = [query.id for query in data.queries]
    if not ids:
        yield "data: no query"
    if len(set(ids)) < len(ids):
        yield "data: query ids are not unique"
    asked = (query.id for query in data.queries if not are_texts(query.id, query.user, query.text))
    yield from _some("query's id, user or text is no text", asked)
    items = (item for history in data.histories.values() for item in history)
    past = (item.id for item in items if not are_texts(item.id, item.text, item.label, item.date))
    yield from _some("history item's id, text, label or date is no text", past)
    yield from _some("gold is no text", (key for key, gold in data.golds.items() if not are_texts(gold)))
    if set(ids) != set(data.golds):
        yield "data: queries and golds are not of the same ids"
    yield from _some("query's user has no history entry", (q.id for q in data.queries if q.user not in data.histories))
    repeated = (user for user, items in data.histories.items() if len({item.id for item in items}) < len(items))
    yield from _some("user's history items share an id", repeated)


def _answers(task: Task, data: TaskData) -> Iterator[str]:
    yield from _some("label does not parse to itself", (x for x in task.labels if task.parse(x) != (x, True)))
    golds = data.golds.items()
    yield from _some("gold does not parse to itself", (key for key, gold in golds if task.parse(gold) != (gold, True)))
    for gold in islice(data.golds.values(), 1):
        if task.parse(f"\n  {gold}  \nmore") != (gold, True):
            yield "parse: does not take the first line that holds anything"
    if task.parse("")[1]:
        yield "parse: takes an empty output for an answer"


def _metrics(task: Task, data: TaskData) -> Iterator[str]:
    names = [metric.name for metric in task.metrics]
    if not names or len(set(names)) < len(names):
        yield "metrics: there are none, or two of one name"
    golds = {label: label for label in task.labels} or data.golds
    for metric in task.metrics:
        table = _statistics(metric, [(gold, gold) for gold in golds.values()])
        values = metric.value(table)
        best = 1.0 if metric.higher_is_better else 0.0
        if np.shape(values) != (len(table),):
            yield f"{metric.name}: value maps statistics {table.shape} to {np.shape(values)}"
        elif task.labels and abs(metric.value(table.mean(axis=0)) - best) > 1e-9:
            yield f"{metric.name}: right answers score {metric.value(table.mean(axis=0))}, not {best}"
        elif not task.labels:
            imperfect = (key for key, value in zip(golds, values, strict=True) if abs(value - best) > 1e-9)
            yield from _some(f"gold scores no perfect {metric.name} against itself", imperfect)
        garbage = _statistics(metric, [(text, gold) for text in _GARBAGE for gold in islice(golds.values(), 20)])
        if not np.isfinite(garbage).all() or not np.isfinite(metric.value(garbage.mean(axis=0))):
            yield f"{metric.name}: is not finite for an answer that is none"


def _statistics(metric: Metric, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    return np.array([metric.statistics(prediction, gold) for prediction, gold in pairs], dtype=np.float64)


def _supervision(task: Task, data: TaskData) -> Iterator[str]:
    items = islice((item for history in data.histories.values() for item in history), 200)
    yield from _some("history item supervises no valid answer", (i.id for i in items if not _supervises(task, i)))


def _supervises(task: Task, item: HistoryItem) -> bool:
    pair = task.supervise(item)
    return pair is None or (pair[0] != "" and task.parse(pair[1]) == (pair[1], True))


def _prompts(task: Task, data: TaskData) -> Iterator[str]:
    prompts = task.prompts
    labelled = any(item.label for items in data.histories.values() for item in items)
    labels = ("label-one", "label-two") if labelled else ("", "")
    history = (HistoryItem("1", "the first text of the past", labels[0]), HistoryItem("2", "a second text", labels[1]))
    base = prompts.base(_QUERY, history)
    agents = {
        "personal": prompts.personal(_QUERY, history, _INSIGHT),
        "neutral": prompts.neutral(_QUERY, history, _INSIGHT),
    }
    past = [item.text for item in history]
    shown = {"base": base, **agents}
    shown |= {f"insight({kind})": prompts.insight(kind, history) for kind in ("personal", "neutral")}
    shown |= {f"summary({s})": prompts.summary(s, history) for s in get_args(SummaryStrategy)}
    for name, prompt in shown.items():
        asked = [_QUERY] if name in ("base", *agents) else []
        if not _in_order(prompt, [*past, *asked, _ANSWER]):
            yield f"prompts: {name} does not show history, query and {_ANSWER!r} in this order"
        if not all(item.label in prompt for item in history):
            yield f"prompts: {name} does not show the history's labels"
        if not prompt.endswith(_ANSWER):
            yield f"prompts: {name} does not end in {_ANSWER!r}"
    for name, prompt in agents.items():
        if not prompt.startswith(base.removesuffix(_ANSWER)):
            yield f"prompts: {name} does not begin as base does, up to and including the question"
        if not _in_order(prompt, [_QUERY, _INSIGHT, _ANSWER]):
            yield f"prompts: {name} does not hold the insight between the query and {_ANSWER!r}"
    if agents["personal"] == agents["neutral"]:
        yield "prompts: personal and neutral are the same"
    if not _in_order(prompts.base(_QUERY, history, _NOTE), [*past, _QUERY, _NOTE, _ANSWER]):
        yield f"prompts: base does not hold the note between the query and {_ANSWER!r}"
    if not set(prompts.base(_QUERY, ()).splitlines()) <= set(base.splitlines()):
        yield "prompts: base without history keeps the history's sentence"


def _in_order(text: str, parts: Iterable[str]) -> bool:
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _some(problem: str, ids: Iterable[object]) -> Iterator[str]:
    found = list(map(str, ids))
    if found:
        yield f"{problem}: {', '.join(found[:_SHOWN])}{f' and {len(found) - _SHOWN} more' * (len(found) > _SHOWN)}"
