"""Records of LaMP files: what is read, and every kind of bad question, gold and history item."""

import pytest

from harness.api import HarnessError
from harness.tasks.lamp_records import parse
from harness.tasks.lamp_schema import MAX_CHARACTERS, SCHEMAS
from tests.tasks.made import GOLDS, HISTORIES, INPUTS, ITEMS, NAMES, QUERIES, TASKS, outputs, parsed, question


@pytest.mark.parametrize("task", TASKS)
def test_a_good_record_is_read_whole(task: str) -> None:
    data = parsed([question(task)], task=task)
    assert [(query.id, query.user, query.text) for query in data.queries] == [("q1", "q1", QUERIES[task])]
    assert data.histories == {"q1": HISTORIES[task]}
    assert data.golds == {"q1": GOLDS[task]}
    assert (data.faults, data.notes) == ([], [])


def test_outputs_of_another_task_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"dev_outputs.json: its task is 'LaMP_3', expected 'LaMP_2'"):
        parsed([question()], outputs("lamp3"))


def test_outputs_without_a_common_id_are_refused() -> None:
    with pytest.raises(HarnessError, match="no id in common"):
        parsed([question()], outputs(other="comedy"))


@pytest.mark.parametrize("golds", [[], {"task": "LaMP_2"}, {"task": "LaMP_2", "golds": {}}, None, 7])
def test_outputs_of_another_shape_are_refused(golds: object) -> None:
    with pytest.raises(HarnessError, match=r"dev_outputs.json: expected"):
        parse(SCHEMAS["lamp2"], NAMES, [question()], golds, None)


def test_questions_that_are_no_list_are_refused() -> None:
    with pytest.raises(HarnessError, match="expected a list of questions, found an object"):
        parsed({"q1": question()})


def test_nothing_usable_says_why() -> None:
    with pytest.raises(HarnessError, match=r"no usable record. 1 fault: .*field input"):
        parsed([question(input="no marker")])
    with pytest.raises(HarnessError, match=r"no usable record. It holds none at all"):
        parsed([], {"task": "LaMP_2", "golds": []})


BAD_QUESTIONS = {
    "record": ["a", 3, None, []],
    "id": [question(id=None), question(id=""), question(id=1.5), question(id=True), question(id="\ud800"), {}],
    "input": [
        question(id="bad", input=None),
        question(id="bad", input=5),
        question(id="bad", input="no marker here"),
        question(id="bad", input="description:   "),
        question(id="bad", input="description: \udfff"),
    ],
    "profile": [
        question(id="bad", profile=None),
        question(id="bad", profile={}),
        {"id": "bad", "input": INPUTS["lamp2"]},
    ],
}


@pytest.mark.parametrize(("where", "record"), [(key, record) for key, many in BAD_QUESTIONS.items() for record in many])
def test_a_bad_question_is_named_and_the_others_survive(where: str, record: object) -> None:
    golds = outputs(q1="comedy", bad="comedy", q2="sci-fi")
    data = parsed([question(), record, question(id="q2")], golds)
    assert [query.id for query in data.queries] == ["q1", "q2"]
    faults = [fault for fault in data.faults if fault.file == NAMES.questions]
    assert [fault.field for fault in faults] == [where]
    assert faults[0].record == (record["id"] if where in ("input", "profile") else "at index 1")


def test_a_repeated_question_keeps_the_first() -> None:
    data = parsed([question(), question(input="description: Another.")])
    assert [query.text for query in data.queries] == ["A robot wakes."]
    assert [str(fault) for fault in data.faults] == [
        "dev_questions.json: record q1: field id: occurs twice; the first is kept"
    ]


@pytest.mark.parametrize("gold", ["news", "", None, 3, ["comedy"], "comedy, classic"])
def test_a_bad_gold_is_named_and_its_question_skipped(gold: object) -> None:
    data = parsed([question(), question(id="q2")], outputs(q1=gold, q2="comedy"))
    assert [query.id for query in data.queries] == ["q2"]
    assert [(fault.file, fault.record, fault.field) for fault in data.faults] == [
        (NAMES.outputs, "q1", "output"),
        (NAMES.questions, "q1", "id"),
    ]


def test_a_tweet_to_be_written_is_on_one_line_as_answers_are() -> None:
    data = parsed([question("lamp7")], outputs("lamp7", q1=" so  tired\nlol \n"), task="lamp7")
    assert data.golds == {"q1": "so  tired lol"}


def test_missing_and_left_over_golds_are_named() -> None:
    data = parsed([question(), question(id="q2")], outputs(q1="comedy", q9="comedy"))
    assert [(fault.file, fault.record) for fault in data.faults] == [(NAMES.outputs, "q9"), (NAMES.questions, "q2")]


def test_a_repeated_gold_keeps_the_first() -> None:
    golds = {"task": "LaMP_2", "golds": [{"id": "q1", "output": "comedy"}, {"id": "q1", "output": "classic"}]}
    data = parsed([question()], golds)
    assert data.golds == {"q1": "comedy"}
    assert [fault.file for fault in data.faults] == [NAMES.outputs]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ("text", "profile[1]"),
        (None, "profile[1]"),
        ({"id": "i2", "tag": "comedy"}, "profile[1].description"),
        ({"id": "i2", "tag": "comedy", "description": " "}, "profile[1].description"),
        ({"id": "i2", "tag": "news", "description": "A cat."}, "profile[1].tag"),
        ({"id": "i2", "description": "A cat."}, "profile[1].tag"),
        (ITEMS["lamp2"], "profile[1].id"),
    ],
)
def test_a_bad_item_is_named_and_only_it_is_skipped(item: object, where: str) -> None:
    last = {"id": "i3", "tag": "classic", "description": "A duel."}
    data = parsed([question(profile=[ITEMS["lamp2"], item, last])])
    assert [kept.id for kept in data.histories["q1"]] == ["i1", "i3"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("q1", where)]


def test_numbers_as_ids_match_text() -> None:
    data = parsed([question(id=17)], {"task": "LaMP_2", "golds": [{"id": "17", "output": "Comedy"}]})
    assert data.golds == {"17": "comedy"}


def test_ten_megabytes_in_an_item_are_cut_and_counted() -> None:
    item = {"id": "i1", "tag": "comedy", "description": "word " * 2_000_000}
    data = parsed([question(profile=[item], input="description: " + "x" * 10_000_000)])
    assert len(data.histories["q1"][0].text) <= MAX_CHARACTERS
    assert len(data.queries[0].text) == MAX_CHARACTERS
    assert data.notes == [f"2 texts were cut to {MAX_CHARACTERS} characters"]
