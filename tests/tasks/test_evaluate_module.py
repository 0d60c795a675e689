"""The `evaluate` module, loaded by path without a network: the numbers are those of the tasks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api import Task
from harness.tasks.lamp import TASKS

FOLDER = Path(__file__).parents[2] / "tasks" / "evaluate_modules" / "lamp"
TEXTS = st.sampled_from(["so tired lol", "im tired", "It rains!", "naïve rain", "a b c"])
JUNK = st.sampled_from(["", " \n", "news", "6", "4.0", "[3]", "\n comedy.\nmore", '"[1]"', "five"]) | st.text(
    max_size=6
)

Load = Callable[[str], Any]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """evaluate.load with all that it writes in a folder of the test's."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(cache / "modules"))
        patch.syspath_prepend(str(cache / "modules"))
        yield lambda task: evaluate.load(str(FOLDER), task, cache_dir=str(cache))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_its_numbers_are_the_tasks_own_whatever_does_not_parse(task: type[Task], load: Load) -> None:
    answers = st.sampled_from(task.labels) if task.labels else TEXTS
    module = load(task.name)

    @given(st.lists(st.tuples(answers | JUNK, answers), min_size=1, max_size=20))
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(pairs: list[tuple[str, str]]) -> None:
        raw, golds = map(list, zip(*pairs, strict=True))
        scores = module.compute(predictions=raw, references=golds)
        assert list(scores) == [metric.name for metric in task.metrics]
        for metric in task.metrics:
            rows = [metric.statistics(task().parse(output)[0], gold) for output, gold in pairs]
            assert scores[metric.name] == pytest.approx(float(metric.value(np.mean(rows, axis=0))), abs=1e-9)

    check()


def test_references_are_read_as_gold_files_are(load: Load) -> None:
    scores = load("lamp3").compute(predictions=["4"], references=["5.0"])
    assert scores == {"mae": 1.0, "rmse": 1.0}
    with pytest.raises(ValueError, match="none of the 15 tags"):
        load("lamp2").compute(predictions=["comedy"], references=["news"])


def test_nothing_to_score_and_what_is_no_text_are_value_errors(load: Load) -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        load("lamp3").compute(predictions=[], references=[])
    with pytest.raises(ValueError, match="don't match the expected format"):
        load("lamp3").compute(predictions=[4], references=["5"])


def test_a_module_without_a_task_names_those_there_are(load: Load) -> None:
    with pytest.raises(ValueError, match="no task 'lamp8'; name one of lamp1, lamp2"):
        load("lamp8")
