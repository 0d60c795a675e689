"""The YAML files under plain lm-eval: they load, and their numbers are those of the metrics."""

from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from harness import tasks
from harness.api import Task
from harness.tasks.lamp import TASKS as ALL
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7
from harness.tasks.lamp_schema import SCHEMAS
from harness.tasks.lm_eval_utils import documents
from tests.tasks.made import GOLDS, HISTORIES, QUERIES, question, write

FOLDER = Path(tasks.__file__).parent
TASKS = {task.name: task for task in (Lamp2(), Lamp3(), Lamp7())}
ANSWERS = {
    "lamp2": ("comedy", "Action.", "news"),
    "lamp3": ("4", "1", "no idea"),
    "lamp7": ("i miss it", "", "omg"),
}


class Canned(LM):
    """Answers in turn."""

    def __init__(self, answers: tuple[str, ...]) -> None:
        super().__init__()
        self.answers = answers
        self.requests: list[Any] = []

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self.requests = requests
        return [self.answers[index % len(self.answers)] for index in range(len(requests))]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_every_task_runs_on_a_directory_with_its_own_prompt_and_metrics(task: type[Task], tmp_path: Path) -> None:
    write(tmp_path / SCHEMAS[task.name].folder, task=task.name)
    result, model = evaluate(task.name, {"source": str(tmp_path)}, (GOLDS[task.name],))
    [request] = model.requests
    assert request.args[0] == task().prompts.base(QUERIES[task.name], HISTORIES[task.name])
    assert request.args[1]["max_gen_toks"] == task.max_new_tokens
    perfect = {metric.name: 1.0 if metric.higher_is_better else 0.0 for metric in task.metrics}
    # One gold of one label: macro-F1 is 1/15.
    perfect |= {"f1": 1 / 15} if "f1" in perfect else {}
    assert {name: result["results"][task.name][f"{name},none"] for name in perfect} == pytest.approx(perfect)


def evaluate(
    name: str, metadata: dict[str, Any] | None = None, answers: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Canned]:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    model = Canned(answers or ANSWERS[name])
    return lm_eval.evaluate(lm=model, task_dict=manager.load([name]), limit=30, bootstrap_iters=0), model


def test_the_folder_holds_these_tasks_only() -> None:
    found = TaskManager(include_path=str(FOLDER), include_defaults=False).all_tasks
    assert sorted(found) == [task.name for task in ALL]


@pytest.mark.parametrize("name", TASKS)
def test_numbers_equal_the_metrics(name: str) -> None:
    task: Task = TASKS[name]
    result, _ = evaluate(name)
    samples = sorted(result["samples"][name], key=lambda sample: sample["doc_id"])
    assert len(samples) == 30
    for metric in task.metrics:
        rows = [metric.statistics(task.parse(s["filtered_resps"][0])[0], s["doc"]["gold"]) for s in samples]
        assert result["results"][name][f"{metric.name},none"] == pytest.approx(metric.value(np.mean(rows, axis=0)))
        assert result["higher_is_better"][name][metric.name] is metric.higher_is_better


@pytest.mark.parametrize("name", TASKS)
def test_prompts_and_settings(name: str) -> None:
    task = TASKS[name]
    _, model = evaluate(name)
    prompt, settings = model.requests[0].args
    data = task.load("synthetic", "dev")
    query = data.queries[0]
    assert prompt == task.prompts.base(query.text, data.histories[query.user][-10:])
    assert settings == {"until": ["\n"], "max_gen_toks": task.max_new_tokens, "do_sample": False}
    assert model.requests[0].doc["gold"] == data.golds[query.id]


def test_a_directory_is_read_through_metadata(tmp_path: Path) -> None:
    folder = tmp_path / "LaMP_3"
    folder.mkdir()
    (folder / "train_questions.json").write_text('[{"id": "q", "input": "review: It broke.", "profile": []}]')
    (folder / "train_outputs.json").write_text('{"task": "LaMP_3", "golds": [{"id": "q", "output": "1"}]}')
    result, model = evaluate("lamp3", {"source": str(tmp_path), "split": "train"})
    assert result["results"]["lamp3"]["mae,none"] == 3.0
    assert "Now, given a new review by the user: It broke." in model.requests[0].args[0]


def test_what_the_data_lack_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "LaMP_3", "train", "lamp3", questions=[question("lamp3"), question("lamp3", id="q2")])
    evaluate("lamp3", {"source": str(tmp_path), "split": "dev"})
    logged = [record.getMessage() for record in caplog.records if "lm_eval_utils" in record.name]
    assert logged == [
        "lamp3: there is no split 'dev': 'train', the only one there, was used",
        "lamp3: 1 of 2 questions could not be used (`harness data check` says why)",
    ]


def test_the_prompt_shows_the_latest_items_by_date(tmp_path: Path) -> None:
    dates = [f"2010-{1 + (5 * n) % 12:02}-01" for n in range(12)]
    profile = [{"id": str(n), "text": f"of {date}", "score": 3, "date": date} for n, date in enumerate(dates)]
    write(tmp_path / "LaMP_3", task="lamp3", questions=[question("lamp3", profile=profile)])
    prompt = documents("lamp3", str(tmp_path))["test"][0]["prompt"]
    assert [date for date in dates if f"of {date}" in prompt] == [d for d in dates if d >= "2010-03-01"]
    places = [prompt.index(f"of {date}") for date in dates if date >= "2010-03-01"]
    assert places == sorted(places)
