"""Real LaMP files, where a copy stands beside the repository; nothing of it is in the repository."""

from pathlib import Path

import pytest

from harness.api import Task
from harness.conformance.data_check import SplitReport, check_data
from harness.conformance.task_checks import check_task
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TASKS = (Lamp2(), Lamp3(), Lamp7())

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")


def report(directory: Path, task: str, split: str) -> SplitReport:
    [found] = [r for r in check_data(TASKS, str(directory)) if (r.task, r.split) == (task, split)]
    return found


def test_genuine_tweets() -> None:
    found = report(DATA, "lamp7", "dev")
    assert (found.queries, found.users, found.faults, found.notes, found.error) == (400, 400, (), (), "")
    assert found.history[:2] == (9, 13.0)
    assert (found.leaky_queries, found.leaky_items) == (3, 6)


def test_derived_reviews_fall_back_to_train() -> None:
    data = Lamp3().load(str(DATA / "derived"), "dev")
    assert (data.split, len(data.queries), data.faults) == ("train", 244, [])
    assert len(data.histories) < len(data.queries)
    assert data.notes == ["there is no split 'dev': 'train', the only one there, was used"]


def test_derived_tags() -> None:
    train, dev = (report(DATA / "derived", "lamp2", split) for split in ("train", "dev"))
    assert (train.queries, dev.queries, train.faults, dev.faults) == (16, 3, (), ())
    assert dev.users == 1


@pytest.mark.parametrize(
    ("task", "directory"), [(TASKS[0], DATA / "derived"), (TASKS[1], DATA / "derived"), (TASKS[2], DATA)]
)
def test_the_tasks_keep_their_promises_on_it(task: Task, directory: Path) -> None:
    assert check_task(task, task.load(str(directory), "dev")) == []


def test_golds_fit_the_tokens_they_are_given() -> None:
    words = [len(gold.split()) for gold in Lamp7().load(str(DATA), "dev").golds.values()]
    assert max(words) * 2 <= Lamp7.max_new_tokens
