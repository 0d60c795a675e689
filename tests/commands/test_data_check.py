"""Leaks, `harness data check` and `harness tasks validate`, on the LaMP tasks and on broken ones."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness.api import Fault, HarnessError, HistoryItem, Query, Task, TaskData
from harness.commands.data import _run_check
from harness.conformance.data_check import SplitReport, check_data
from harness.conformance.task_checks import check_task
from harness.running.leaks import LeakSearch
from harness.running.task_data import read_split
from harness.tasks.lamp import TASKS as ALL
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7
from harness.tasks.lamp_schema import SCHEMAS
from harness.tasks.metrics import MAE
from harness.tasks.prompts import LAMP_2
from tests.tasks.made import write

TASKS = (Lamp2(), Lamp3(), Lamp7())


def write_tweets(folder: Path, split: str, questions: list[dict[str, Any]], golds: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    outputs = {"task": "LaMP_7", "golds": [{"id": key, "output": gold} for key, gold in golds.items()]}
    (folder / f"{split}_questions.json").write_text(json.dumps(questions))
    (folder / f"{split}_outputs.json").write_text(json.dumps(outputs))


def tweet_question(key: str, *profile: str) -> dict[str, Any]:
    items = [{"id": f"{key}-{place}", "text": text} for place, text in enumerate(profile)]
    text = f"Paraphrase the following tweet without any explanation before or after it: I am {key}."
    return {"id": key, "input": text, "profile": items}


# ---------------------------------------------------------------------------------------------------------------- leaks


def test_the_querys_text_and_an_unlabelled_gold_are_leaks() -> None:
    history = [
        HistoryItem("query", " I  AM\ttired. "),
        HistoryItem("gold", "IM TIRED\n"),
        HistoryItem("part", "im tired lol"),
    ]
    assert LeakSearch(history).find(Query("q", "u", "I am tired."), "im tired") == ["query", "gold"]


def test_punctuation_does_not_hide_a_leak() -> None:
    history = [HistoryItem("at", "@I am tired!"), HistoryItem("emoji", "😴 😴"), HistoryItem("other", "I am so tired.")]
    assert LeakSearch(history).find(Query("q", "u", "I am tired."), "😴  😴") == ["at", "emoji"]


def test_a_label_or_labelled_text_equal_to_the_gold_is_no_leak() -> None:
    history = [HistoryItem("label", "A dog.", "comedy"), HistoryItem("text", "comedy", "classic")]
    assert LeakSearch(history).find(Query("q", "u", "A robot."), "comedy") == []
    assert LeakSearch(history).find(Query("q", "u", "a DOG."), "action") == ["label"]


# ----------------------------------------------------------------------------------------------------------- data check


def test_a_report_per_task_and_split(tmp_path: Path) -> None:
    questions = [
        tweet_question("q1", "a", "im q1", "b"),
        tweet_question("q2"),
        tweet_question("q3", "I am q3.", "", ""),
        {"id": "q4"},
    ]
    write_tweets(tmp_path / "LaMP_7", "dev", questions, {"q1": "im q1", "q2": "yes", "q3": "no", "q4": "x"})
    write_tweets(tmp_path / "LaMP_7", "train", [tweet_question("q9", "a")], {"q9": "x"})
    train, dev = check_data(TASKS, str(tmp_path))
    assert train == SplitReport("lamp7", "train", queries=1, users=1, history=(1, 1.0, 1))
    assert (dev.task, dev.split, dev.queries, dev.users, dev.history) == ("lamp7", "dev", 3, 3, (0, 1.0, 3))
    assert (dev.leaky_queries, dev.leaky_items) == (2, 2)
    assert sorted(fault.field for fault in dev.faults) == ["input", "profile[1].text", "profile[2].text"]
    lost = "1 of 4 questions could not be used (`harness data check` says why)"
    assert dev.notes == ("2 of 6 history items could not be used", "1 of 3 users have an empty history", lost)


def test_leaking_queries_and_items_are_counted_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [tweet_question("q1", "im q1", "I am q1."), tweet_question("q2", "a")]
    write_tweets(tmp_path / "LaMP_7", "dev", questions, {"q1": "im q1", "q2": "x"})
    assert _run_check(tmp_path) == 0
    assert "1/2" in capsys.readouterr().out


def test_the_only_split_is_reported_once(tmp_path: Path) -> None:
    write_tweets(tmp_path / "LaMP_7", "train", [tweet_question("q9", "a")], {"q9": "x"})
    assert [report.split for report in check_data(TASKS, str(tmp_path))] == ["train"]


def test_a_broken_split_is_reported_beside_a_good_one(tmp_path: Path) -> None:
    write_tweets(tmp_path / "LaMP_7", "dev", [tweet_question("q9", "a")], {"q9": "x"})
    (tmp_path / "LaMP_7" / "train_questions.json").write_text("[]")
    train, dev = check_data(TASKS, str(tmp_path))
    assert (dev.queries, dev.error) == (1, "")
    assert train.split == "train"
    assert "train_outputs.json: no such file" in train.error


def test_a_test_split_without_golds_is_no_fault(tmp_path: Path) -> None:
    """As LaMP publishes it."""
    write_tweets(tmp_path / "LaMP_7", "dev", [tweet_question("q9", "a")], {"q9": "x"})
    (tmp_path / "LaMP_7" / "test_questions.json").write_text("[]")
    _, test = check_data(TASKS, str(tmp_path))
    assert (test.split, test.error, test.faults) == ("test", "", ())
    assert "not public" in test.notes[0]


def test_only_splits_that_exist_are_blamed(tmp_path: Path) -> None:
    write_tweets(tmp_path / "LaMP_7", "train", [tweet_question("q9", "a")], {"q9": "x"})
    (tmp_path / "LaMP_7" / "train_outputs.json").write_text("{}")
    [report] = check_data(TASKS, str(tmp_path))
    assert report.split == "train"
    assert report.error


def test_a_split_of_any_name_is_checked(tmp_path: Path) -> None:
    for split in ("sample", "dev"):
        write_tweets(tmp_path / "LaMP_7", split, [tweet_question("q9", "a")], {"q9": "x"})
    assert [report.split for report in check_data(TASKS, str(tmp_path))] == ["dev", "sample"]


class Unlisted(Lamp7):
    """A task that cannot say which splits there are."""

    def splits(self, source: str) -> None:
        return None


def test_a_task_that_lists_no_splits_is_asked_for_the_usual_ones(tmp_path: Path) -> None:
    write_tweets(tmp_path / "LaMP_7", "dev", [tweet_question("q9", "a")], {"q9": "x"})
    assert [report.split for report in check_data([Unlisted()], str(tmp_path))] == ["dev"]


class Broken(Lamp7):
    """A task whose own code is at fault; `when` says where."""

    name = "broken"
    when = "load"

    def splits(self, source: str) -> tuple[str, ...] | None:
        if self.when == "splits":
            raise KeyError("index")
        return ("dev",)

    def load(self, source: str, split: str) -> Any:
        if self.when == "load":
            return json.loads("{")
        query, item, number = Query("q", "u", "text"), HistoryItem("i", "old"), cast("str", 7)
        made = {
            "returned": None,
            "golds": TaskData("dev", {"u": ()}, [query], {}),
            "twice": TaskData("dev", {"u": ()}, [query, query], {"q": "x"}),
            "id": TaskData("dev", {"u": ()}, [replace(query, id=number)], {"q": "x"}),
            "gold": TaskData("dev", {"u": ()}, [query], {"q": number}),
            "item": TaskData("dev", {"u": (replace(item, text=number),)}, [query], {"q": "x"}),
            "items": TaskData("dev", {"u": (item, replace(item, text="new"))}, [query], {"q": "x"}),
        }
        return made[self.when]


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ("load", "JSONDecodeError"),
        ("splits", "KeyError: 'index'"),
        ("returned", "but gave NoneType in place of TaskData. Mend its load."),
        ("golds", "but the query 'q' has no gold answer. Mend its load."),
        ("twice", "but two queries have the id 'q'. Mend its load."),
        ("id", "but the id, user or text of the query 7 is no text. Mend its load."),
        ("gold", "but the gold answer of the query 'q' is no text. Mend its load."),
        ("item", "but the id, text, label or date of the item 'i' of the user 'u' is no text. Mend its load."),
        ("items", "but two items of the user 'u' have the id 'i'. Mend its load."),
    ],
)
def test_a_task_whose_code_fails_is_named_with_the_place_and_costs_no_other_its_check(
    tmp_path: Path, when: str, fault: str
) -> None:
    write_tweets(tmp_path / "LaMP_7", "dev", [tweet_question("q9", "a")], {"q9": "x"})
    task = Broken()
    task.when = when
    bad, good = check_data([task, Lamp7()], str(tmp_path))
    assert (good.task, good.queries, good.error) == ("lamp7", 1, "")
    assert bad.error.startswith(f"The task 'broken', {__name__}:Broken, ")
    assert fault in bad.error
    assert fault.endswith(".") or re.search(rf" failed at .* \({re.escape(__file__)}:\d+\)\.$", bad.error)


class Mistagged(Lamp2):
    """A task of a closed set of answers whose third question has another gold."""

    def load(self, source: str, split: str) -> TaskData:
        golds = {"q1": "comedy", "q2": "comedy", "q3": "Comedy", "q4": "Comedy"}
        return TaskData(split, {"u": ()}, [Query(key, "u", "text") for key in golds], golds)


def test_a_gold_that_a_metric_cannot_take_is_an_error_before_any_fit() -> None:
    with pytest.raises(HarnessError, match=r"gold answer 'Comedy' of the query 'q3' is none that f1 takes \(KeyError:"):
        read_split(Mistagged(), "any", "dev")


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything in them read as markup."""
    bad = {**tweet_question("q1", "a"), "id": "\x1b[2Jid[red]\x07", "input": "no marker"}
    write_tweets(tmp_path / "LaMP_7", "dev", [tweet_question("q9", "a"), bad], {"q9": "x", bad["id"]: "y"})
    write_tweets(tmp_path / "LaMP_7", "a\x1b]0;b[red]", [tweet_question("q9", "a")], {"q9": "x"})
    assert _run_check(tmp_path) == 1
    shown = capsys.readouterr().out
    assert "record  [2Jid[red] : field input" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_directory_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"holds no data of lamp2, lamp3, lamp7\. .*read: LaMP_1, .*LaMP_7"):
        check_data(TASKS, str(tmp_path))


# ------------------------------------------------------------------------------------------------------- tasks validate


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_lamp_tasks_keep_their_promises(task: Task, split: str) -> None:
    assert check_task(task, task.load("synthetic", split)) == []


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_every_task_keeps_its_promises_on_made_data(task: type[Task], tmp_path: Path) -> None:
    write(tmp_path / SCHEMAS[task.name].folder, task=task.name)
    assert check_task(task(), task().load(str(tmp_path), "dev")) == []


def small() -> TaskData:
    history = {"u": (HistoryItem("1", "A dog.", "comedy"), HistoryItem("2", "A duel.", "classic"))}
    return TaskData("dev", history, [Query("q", "u", "A robot.")], {"q": "sci-fi"})


def broken(**changes: Any) -> list[str]:
    task = Lamp2()
    for name, value in changes.items():
        setattr(task, name, value)
    return check_task(task, small())


def raises(output: str) -> tuple[str, bool]:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"parse": lambda output: (output.upper(), True)}, "label does not parse to itself: sci-fi"),
        ({"parse": lambda output: (output.strip(), True)}, "parse: does not take the first line"),
        ({"parse": lambda output: (output.strip().split("\n")[0], True)}, "parse: takes an empty output"),
        ({"parse": raises}, "answers: raised RuntimeError: boom"),
        ({"metrics": ()}, "metrics: there are none"),
        ({"metrics": (replace(Lamp2.metrics[0], higher_is_better=False),)}, "accuracy: right answers score 1.0"),
        ({"metrics": (replace(Lamp2.metrics[0], statistics=lambda p, g: (0.0,)),)}, "accuracy: right answers score"),
        ({"metrics": (replace(Lamp2.metrics[0], value=lambda means: means),)}, "accuracy: value maps statistics"),
        ({"metrics": (MAE,)}, "metrics: raised ValueError"),
        ({"supervise": lambda item: (item.text, "news")}, "history item supervises no valid answer: 1, 2"),
        ({"supervise": lambda item: None}, None),
        ({"prompts": replace(LAMP_2, query_intro="Your answer:")}, None),
        ({"prompts": replace(LAMP_2, personal_agent="Please.")}, "prompts: personal does not hold the insight"),
        ({"prompts": replace(LAMP_2, neutral_agent=LAMP_2.personal_agent)}, "personal and neutral are the same"),
        ({"prompts": replace(LAMP_2, history_item="{label}")}, "prompts: base does not show history, query"),
        ({"prompts": replace(LAMP_2, history_item="{text}")}, "prompts: base does not show the history's labels"),
        ({"prompts": replace(LAMP_2, history_intro="Your past:\n")}, None),
    ],
)
def test_a_broken_task_is_told_what_is_wrong(changes: dict[str, Any], problem: str | None) -> None:
    found = broken(**changes)
    assert not found if problem is None else any(problem in text for text in found), found


class KeepsTheSentence:
    """Prompts whose base keeps its first sentence when there is no history."""

    def __getattr__(self, name: str) -> Any:
        return getattr(LAMP_2, name)

    def base(self, query: str, history: Any, note: str = "") -> str:
        return LAMP_2.base(query, history, note) if history else f"Your past:\n\n{LAMP_2.base(query, (), note)}"


def test_a_sentence_about_no_history_is_found() -> None:
    assert broken(prompts=KeepsTheSentence()) == ["prompts: base without history keeps the history's sentence"]


def test_data_that_does_not_fit_together_is_found() -> None:
    data = small()
    data.queries.append(Query("q", "nobody", "A cat."))
    data.golds["other"] = "comedy"
    data.golds["bad"] = "news"
    problems = check_task(Lamp2(), data)
    assert problems[:4] == [
        "data: query ids are not unique",
        "data: queries and golds are not of the same ids",
        "query's user has no history entry: q",
        "gold does not parse to itself: bad",
    ]


def test_data_that_is_no_text_is_found() -> None:
    """JSON's numbers, where an adapter passes them on."""
    number: Any = 7
    history = {"u": (HistoryItem(number, "A dog.", "comedy"), HistoryItem("2", number, "classic"))}
    problems = check_task(Lamp2(), TaskData("dev", history, [Query("q", "u", number)], {"q": number}))
    assert problems[:3] == [
        "query's id, user or text is no text: q",
        "history item's id, text, label or date is no text: 7, 2",
        "gold is no text: q",
    ]


def test_a_gold_without_words_cannot_score() -> None:
    data = TaskData("dev", {"u": ()}, [Query("q", "u", "happy")], {"q": ":)"})
    assert check_task(Lamp7(), data) == [
        "gold scores no perfect rouge1 against itself: q",
        "gold scores no perfect rougeL against itself: q",
    ]


def test_a_fault_reads_as_one_line() -> None:
    assert str(Fault("f.json", "110", "input", "is empty")) == "f.json: record 110: field input: is empty"
