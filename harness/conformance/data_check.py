"""What a source of data holds, task by task and split by split, and what is wrong with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from harness.api import Fault, HarnessError, MissingError, Task, TaskData
from harness.running.leaks import find_leaks
from harness.running.task_data import TaskError, read_split, splits_of

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class SplitReport:
    """One split of one task. Of a split that cannot be read there is only the `error`, of one without golds a note.

    Of a task that cannot say which splits there are, there is one report, of no split.
    """

    task: str
    split: str
    queries: int = 0
    users: int = 0
    history: tuple[int, float, int] = (0, 0.0, 0)  # items per user: least, median, most
    leaky_queries: int = 0  # queries whose text or gold stands verbatim in their user's history
    leaky_items: int = 0  # those history items, each counted once per user
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""


def check_data(tasks: Iterable[Task], source: str) -> list[SplitReport]:
    """A report of every split of every task that `source` has. Raises HarnessError, with a task's reason, if none."""
    names, reports, reasons = [], [], []
    for task in tasks:
        names.append(task.name)
        try:
            reports += _check_task(task, source)
        except MissingError as error:
            reasons.append(str(error))
        except TaskError as error:
            reports.append(SplitReport(task.name, "", error=str(error)))
    if not reports:
        raise HarnessError(f"{source}: holds no data of {', '.join(names)}. {' '.join(reasons[:1])}".rstrip())
    return reports


def _check_task(task: Task, source: str) -> list[SplitReport]:
    there = splits_of(task, source)
    reports = (_check_split(task, source, split, there is not None) for split in (SPLITS if there is None else there))
    return [report for report in reports if report]


def _check_split(task: Task, source: str, split: str, there: bool) -> SplitReport | None:
    """`there`: the task says that the split exists, so that what is missing can only be its golds."""
    try:
        data = read_split(task, source, split)
    except MissingError as error:
        return SplitReport(task.name, split, notes=(f"not checked: {error}",)) if there else None
    except HarnessError as error:
        return SplitReport(task.name, split, error=str(error))
    # A task may answer with the only split it has.
    return _report(task.name, data) if data.split == split else None


def _report(task: str, data: TaskData) -> SplitReport:
    sizes = [len(history) for history in data.histories.values()] or [0]
    leaks = list(find_leaks(data, data.queries))
    return SplitReport(
        task=task,
        split=data.split,
        queries=len(data.queries),
        users=len(data.histories),
        history=(min(sizes), float(median(sizes)), max(sizes)),
        leaky_queries=sum(bool(items) for _, items in leaks),
        leaky_items=len({(query.user, item) for query, items in leaks for item in items}),
        faults=tuple(data.faults),
        notes=tuple(data.notes),
    )
