"""The tasks: answers, supervision, the synthetic source."""

from pathlib import Path

import pytest

from harness.api import HistoryItem, MissingError, Task
from harness.tasks.lamp import SYNTHETIC_SPLITS, TASKS, Lamp1, Lamp2, Lamp3, Lamp4, Lamp5, Lamp6, Lamp7
from harness.tasks.prompts import MOVIE_TAGS
from tests.tasks.made import write

SYNTHETIC = (Lamp2(), Lamp3(), Lamp7())


@pytest.mark.parametrize("output", ["comedy", " Comedy.", '\n\n"comedy"\nso', "'COMEDY'", "comedy\r\n", "“comedy”."])
def test_a_tag_is_found_in_its_wrapping(output: str) -> None:
    assert Lamp2().parse(output) == ("comedy", True)


@pytest.mark.parametrize("output", ["dark", "comedy, action", "The tag is comedy", "news"])
def test_anything_else_is_no_tag(output: str) -> None:
    assert Lamp2().parse(f" {output} \nmore") == (output, False)


@pytest.mark.parametrize("tag", MOVIE_TAGS)
def test_every_tag_parses_to_itself(tag: str) -> None:
    assert Lamp2().parse(tag) == (tag, True)
    assert Lamp2().parse(f'"{tag.upper()}".') == (tag, True)


@pytest.mark.parametrize("output", ["4", " 4\n", '"4".', "\n4\n5"])
def test_a_rating_is_found_in_its_wrapping(output: str) -> None:
    assert Lamp3().parse(output) == ("4", True)


@pytest.mark.parametrize("output", ["4.0", "4 stars", "0", "6", "45", "four", "4/5", "٤"])
def test_anything_else_is_no_rating(output: str) -> None:
    assert Lamp3().parse(output) == (output, False)


def test_a_tweet_is_its_first_line() -> None:
    assert Lamp7().parse("\n  so tired lol  \nmore") == ("so tired lol", True)


@pytest.mark.parametrize("output", ["[2]", " [2]\n[1]", '"[2]".'])
def test_a_reference_is_found_in_its_wrapping(output: str) -> None:
    assert Lamp1().parse(output) == ("[2]", True)


@pytest.mark.parametrize("output", ["2", "[3]", "[2] Drops", "[1] [2]"])
def test_anything_else_is_no_reference(output: str) -> None:
    """LaMP's own script counts "2" as wrong too."""
    assert Lamp1().parse(output) == (output, False)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("output", ["", " \n\t\n"])
def test_nothing_is_no_answer(task: type[Task], output: str) -> None:
    assert task().parse(output) == ("", False)


def test_supervision() -> None:
    assert Lamp2().supervise(HistoryItem("1", "A dog talks.", "comedy")) == ("A dog talks.", "comedy")
    assert Lamp3().supervise(HistoryItem("1", "Fine.", "4")) == ("Fine.", "4")
    assert Lamp7().supervise(HistoryItem("1", "so tired\nlol")) == (None, "so tired lol")
    for task in (Lamp4(), Lamp5(), Lamp6()):
        assert task.supervise(HistoryItem("1", "The lake froze.", "Ice")) == ("The lake froze.", "Ice")


def test_a_list_of_papers_supervises_no_citation(tmp_path: Path) -> None:
    assert Lamp1().supervise(HistoryItem("1", "Counting Snow")) is None
    write(tmp_path / "LaMP_1", task="lamp1")
    assert any("name no references" in note for note in Lamp1().load(str(tmp_path), "dev").notes)


@pytest.mark.parametrize("task", [Lamp1(), Lamp4(), Lamp5(), Lamp6()], ids=lambda task: task.name)
def test_without_a_synthetic_world_the_error_says_where_data_comes_from(task: Task) -> None:
    with pytest.raises(
        MissingError, match=f"{task.name}: there is no synthetic data. .*(fetch {task.name}|LDC2015T03)"
    ):
        task.load("synthetic", "dev")


@pytest.mark.parametrize("task", SYNTHETIC, ids=lambda task: task.name)
def test_the_synthetic_source_is_generous_and_repeatable(task: Task) -> None:
    data = task.load("synthetic", "dev")
    assert (data.split, len(data.queries), len(data.histories), data.faults) == ("dev", 600, 300, [])
    assert {query.user for query in data.queries} == set(data.histories)
    assert {query.id for query in data.queries} == set(data.golds)
    again = task.load("synthetic", "dev")
    assert (again.fingerprint, again.golds) == (data.fingerprint, data.golds)
    assert any("not evidence" in note for note in data.notes)


@pytest.mark.parametrize("task", SYNTHETIC, ids=lambda task: task.name)
def test_synthetic_splits_share_no_user(task: Task) -> None:
    splits = [task.load("synthetic", split) for split in SYNTHETIC_SPLITS]
    users = [user for data in splits for user in data.histories]
    assert len(users) == len(set(users))
    assert len({data.fingerprint for data in splits}) == len(splits)


def test_an_unknown_synthetic_split_names_those_there_are() -> None:
    with pytest.raises(MissingError, match="no split 'test'; there are: train, dev, tune"):
        Lamp2().load("synthetic", "test")


def test_answers_fit_the_tokens_they_are_given() -> None:
    """At two characters a token, with four for white space, quotes and a full stop."""
    assert max(map(len, MOVIE_TAGS)) / 2 + 4 <= Lamp2.max_new_tokens
    assert Lamp3.max_new_tokens == 4
