"""Reading a task's data: what a task's own code does wrong is an error that says whose it is, and where."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from harness.api import HarnessError, Task, TaskData
from harness.plugin_faults import cause


class TaskError(HarnessError):
    """What a task's own code did wrong; `trace` is the traceback, which stays when the error is sent by a worker."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


def read_split(task: Task, source: str, split: str) -> TaskData:
    """`task.load`. Raises TaskError for whatever that raises beside HarnessErrors, HarnessError for what is no data.

    That is another type, what should be text and is not, two queries or two items of a history with one id, a query
    without a gold or a history, or a gold that a metric of a closed set of answers cannot take.
    """
    with _told(task, f"reading {source}, split {split}"):
        data = task.load(source, split)
    if fault := _fault(data) or _unscorable(task, data):
        raise HarnessError(f"{_named(task)} read {source}, split {split}, but {fault}. Mend its load.")
    return data


def splits_of(task: Task, source: str) -> tuple[str, ...] | None:
    """`task.splits`. Raises TaskError for whatever it raises beside HarnessErrors."""
    with _told(task, f"looking for splits in {source}"):
        return task.splits(source)


def _named(task: Task) -> str:
    return f"The task '{task.name}', {type(task).__module__}:{type(task).__name__},"


def _fault(data: TaskData) -> str:
    if not isinstance(data, TaskData):
        return f"gave {type(data).__name__} in place of TaskData"
    asked: set[str] = set()
    for query in data.queries:
        if not are_texts(query.id, query.user, query.text):
            return f"the id, user or text of the query {query.id!r} is no text"
        if query.id in asked:
            return f"two queries have the id {query.id!r}"
        asked.add(query.id)
        if query.id not in data.golds:
            return f"the query {query.id!r} has no gold answer"
        if query.user not in data.histories:
            return f"the user {query.user!r} of the query {query.id!r} has no history, not even an empty one"
        if not are_texts(data.golds[query.id]):
            return f"the gold answer of the query {query.id!r} is no text"
    for user, history in data.histories.items():
        met: set[str] = set()
        for item in history:
            if not are_texts(user, item.id, item.text, item.label, item.date):
                return f"the id, text, label or date of the item {item.id!r} of the user {user!r} is no text"
            if item.id in met:  # what gives an answer away is taken out by id, and would take the others along
                return f"two items of the user {user!r} have the id {item.id!r}"
            met.add(item.id)
    return ""


def _unscorable(task: Task, data: TaskData) -> str:
    """A gold that would fail every cell after its fit. Free text is not asked: any will do, and ROUGE takes seconds."""
    first: dict[str, str] = {}
    for query in data.queries if task.labels else ():
        first.setdefault(data.golds[query.id], query.id)
    for gold, asked in first.items():
        for metric in task.metrics:
            try:
                metric.statistics(gold, gold)
            except Exception as error:
                taken = f"is none that {metric.name} takes ({cause(error)})"
                return f"the gold answer {gold!r} of the query {asked!r} {taken}"
    return ""


def are_texts(*values: object) -> bool:
    """Whether all of them are text, as ids, inputs, labels, dates and golds have to be."""
    return all(isinstance(value, str) for value in values)


@contextmanager
def _told(task: Task, doing: str) -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:
        place = _place(error, type(task).__module__)
        raise TaskError(
            f"{_named(task)} failed at {doing}: {cause(error)} ({place}).", traceback.format_exc()
        ) from error


def _place(error: BaseException, module: str) -> str:
    """FILE:LINE of the innermost code of the module's package that had a part in it; of all code if it had none."""
    package = module.partition(".")[0]
    frames = [(frame.f_code.co_filename, line, frame) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [found for found in frames if found[2].f_globals.get("__name__", "").partition(".")[0] == package]
    file, line, _ = (own or frames)[-1]
    return f"{file}:{line}"
