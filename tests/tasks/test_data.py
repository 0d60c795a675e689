"""Reading LaMP directories: layouts, users, every kind of bad record, and junk."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HarnessError, TaskData
from harness.tasks.lamp_directory import MissingError, read
from harness.tasks.lamp_records import Names, parse
from harness.tasks.lamp_schema import MAX_CHARACTERS, SCHEMAS, citation
from tests.tasks.made import GOLDS, HISTORIES, INPUTS, ITEMS, QUERIES, TASKS, outputs, question, write

NAMES = Names("dev_questions.json", "dev_outputs.json", "dev_users.json")
MARKERS = {
    "lamp1": "which reference is related?",
    "lamp2": "description:",
    "lamp3": "review:",
    "lamp4": "article:",
    "lamp5": "of a paper:",
    "lamp6": "email:",
    "lamp7": "explanation before or after it:",
}


def parsed(questions: object, golds: object = None, users: object = None, task: str = "lamp2") -> TaskData:
    return parse(SCHEMAS[task], NAMES, questions, outputs(task) if golds is None else golds, users)


@pytest.mark.parametrize("task", TASKS)
def test_a_good_record_is_read_whole(task: str) -> None:
    data = parsed([question(task)], task=task)
    assert [(query.id, query.user, query.text) for query in data.queries] == [("q1", "q1", QUERIES[task])]
    assert data.histories == {"q1": HISTORIES[task]}
    assert data.golds == {"q1": GOLDS[task]}
    assert (data.faults, data.notes) == ([], [])


# -------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("place", ["LaMP_2", "LaMP_2/dev"])
def test_both_layouts_are_found(tmp_path: Path, place: str) -> None:
    write(tmp_path / place)
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert (data.split, len(data.queries), data.notes) == ("dev", 1, [])


@pytest.mark.parametrize("place", ["LaMP_2", "LaMP_2/dev"])
def test_the_task_folder_itself_is_accepted(tmp_path: Path, place: str) -> None:
    write(tmp_path / place)
    assert len(read(SCHEMAS["lamp2"], tmp_path / "LaMP_2", "dev").queries) == 1


@pytest.mark.parametrize("place", ["time/LaMP_2", "time/LaMP_2/dev"])
def test_a_folder_named_time_is_known_as_separated_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write(tmp_path / place)
    for directory in (tmp_path / "time", tmp_path / "time" / "LaMP_2"):
        data = read(SCHEMAS["lamp2"], directory, "dev")
        assert (data.separation, len(data.notes)) == ("time", 1)
        assert "separated by time" in data.notes[0]
    monkeypatch.chdir(tmp_path / "time")
    assert read(SCHEMAS["lamp2"], Path(), "dev").separation == "time"


def test_both_separations_lie_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    write(tmp_path / "time" / "LaMP_2", outputs=outputs(q1="comedy"))
    user, time = (read(SCHEMAS["lamp2"], path, "dev") for path in (tmp_path, tmp_path / "time"))
    assert (user.separation, user.golds) == ("user", {"q1": "sci-fi"})
    assert (time.separation, time.golds) == ("time", {"q1": "comedy"})
    assert user.fingerprint != time.fingerprint


def test_another_tasks_folder_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    with pytest.raises(MissingError, match=r"no LaMP_3/<split>_questions.json"):
        read(SCHEMAS["lamp3"], tmp_path / "LaMP_2", "dev")


def test_the_only_split_is_used_and_said(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "train")
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert data.split == "train"
    assert data.notes == ["there is no split 'dev': 'train', the only one there, was used"]


def test_a_missing_split_names_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "train")
    write(tmp_path / "LaMP_2" / "test", "test")
    with pytest.raises(MissingError, match=r"no split 'dev' of LaMP_2; there are: (test, train|train, test)"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere: no such directory"):
        read(SCHEMAS["lamp2"], tmp_path / "nowhere", "dev")


def test_missing_outputs_point_to_dev(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "test")
    (tmp_path / "LaMP_2" / "test_outputs.json").unlink()
    with pytest.raises(HarnessError, match=r"test_outputs.json: no such file.*not public; use --split dev"):
        read(SCHEMAS["lamp2"], tmp_path, "test")


# ---------------------------------------------------------------------------------------------------------- whole files


def test_no_utf8_is_placed(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", questions=b'[{"id": "\xff"}]')
    with pytest.raises(HarnessError, match=r"dev_questions.json: is not UTF-8 \(byte 9\)"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_no_json_is_placed(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", outputs=b'{"task":\n oops}')
    with pytest.raises(HarnessError, match=r"dev_outputs.json: is no JSON: line 2, column 2"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[" + b"9" * 5000 + b"]"])
def test_json_that_python_cannot_hold_is_an_error(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "LaMP_2", questions=content)
    with pytest.raises(HarnessError, match=r"dev_questions.json"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", questions=b"\xef\xbb\xbf" + json.dumps([question()]).encode())
    assert len(read(SCHEMAS["lamp2"], tmp_path, "dev").queries) == 1


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
    with pytest.raises(HarnessError, match=r"no usable record. 1 faults: .*field input"):
        parsed([question(input="no marker")])


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    def fingerprint(name: str, **files: object) -> str:
        write(tmp_path / name / "LaMP_2", **files)
        return read(SCHEMAS["lamp2"], tmp_path / name, "dev").fingerprint

    base = fingerprint("a")
    assert base == fingerprint("b")
    assert len({base, fingerprint("c", users={"q1": "u"}), fingerprint("d", outputs=outputs(q1="comedy"))}) == 3


# ---------------------------------------------------------------------------------------------------------------- users


def two_questions(first: list[Any], second: list[Any]) -> TaskData:
    questions = [question(profile=first), question(id="q2", profile=second)]
    return parsed(questions, outputs(q1="comedy", q2="sci-fi"), {"q1": "u", "q2": "u"})


def test_profiles_of_one_user_are_united_in_file_order() -> None:
    items = [{**ITEMS["lamp2"], "id": str(number)} for number in range(4)]
    data = two_questions([items[2], items[0]], [items[0], items[3], items[1]])
    assert [item.id for item in data.histories["u"]] == ["2", "0", "3", "1"]
    assert {query.user for query in data.queries} == {"u"}
    assert data.faults == []


def test_two_items_of_one_id_are_named_and_the_first_is_kept() -> None:
    data = two_questions([ITEMS["lamp2"]], [{**ITEMS["lamp2"], "tag": "classic"}])
    assert data.histories == {"u": HISTORIES["lamp2"]}
    [fault] = data.faults
    assert (fault.record, fault.field) == ("q2", "profile[0].id")
    assert "another item in an earlier question" in fault.problem


@pytest.mark.parametrize("users", [{}, {"q1": None}, {"q1": ["u"]}])
def test_a_question_without_a_user_is_named(users: dict[str, Any]) -> None:
    data = parsed([question(), question(id="q2")], outputs(q1="comedy", q2="comedy"), {**users, "q2": "u"})
    assert [query.id for query in data.queries] == ["q2"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("q1", "user")]


def test_users_that_are_no_map_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"dev_users.json: expected"):
        parsed([question()], None, ["u"])


def test_an_empty_history_is_a_user_and_is_counted() -> None:
    data = parsed([question(profile=[])])
    assert data.histories == {"q1": ()}
    assert data.notes == ["1 of 1 users have an empty history"]


# ---------------------------------------------------------------------------------------------------------- bad records

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
        ({"tag": "comedy", "description": "A cat."}, "profile[1].id"),
        ({"id": "i2", "tag": "comedy"}, "profile[1].description"),
        ({"id": "i2", "tag": "comedy", "description": " "}, "profile[1].description"),
        ({"id": "i2", "tag": "news", "description": "A cat."}, "profile[1].tag"),
        ({"id": "i2", "description": "A cat."}, "profile[1].tag"),
        ({"id": "i1", "tag": "comedy", "description": "A cat."}, "profile[1].id"),
    ],
)
def test_a_bad_item_is_named_and_only_it_is_skipped(item: object, where: str) -> None:
    last = {"id": "i3", "tag": "classic", "description": "A duel."}
    data = parsed([question(profile=[ITEMS["lamp2"], item, last])])
    assert [kept.id for kept in data.histories["q1"]] == ["i1", "i3"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("q1", where)]


@pytest.mark.parametrize(("score", "kept"), [("5", "5"), (5, "5"), (5.0, "5"), ("5.0", "5"), (" 5 ", "5")])
def test_scores_may_be_text_or_numbers(score: object, kept: str) -> None:
    data = parsed([question("lamp3", profile=[{"id": "i1", "text": "Fine.", "score": score}])], task="lamp3")
    assert data.histories["q1"][0].label == kept


@pytest.mark.parametrize("score", [0, 6, 4.5, True, float("nan"), float("inf"), "four", "", None, "-1", 10**400])
def test_other_scores_are_faults(score: object) -> None:
    data = parsed([question("lamp3", profile=[{"id": "i1", "text": "Fine.", "score": score}])], task="lamp3")
    assert (data.histories, data.faults[0].field) == ({"q1": ()}, "profile[0].score")


def test_numbers_as_ids_match_text() -> None:
    data = parsed([question(id=17)], {"task": "LaMP_2", "golds": [{"id": "17", "output": "Comedy"}]})
    assert data.golds == {"17": "comedy"}


@pytest.mark.parametrize("task", TASKS)
def test_the_marker_may_be_capitalised(task: str) -> None:
    marker = MARKERS[task]
    text = INPUTS[task].replace(marker, marker.title())
    assert parsed([question(task, input=text)], task=task).queries[0].text == QUERIES[task]


def test_the_query_may_hold_the_marker_again() -> None:
    data = parsed([question(input="tags: [] description: A job description: none.")])
    assert data.queries[0].text == "A job description: none."


@pytest.mark.parametrize(
    "text",
    [
        INPUTS["lamp1"].replace("[2]:", "[3]:"),
        INPUTS["lamp1"].replace("[1]:", ""),
        INPUTS["lamp1"].replace("title", "name"),
        INPUTS["lamp1"].replace("reference is", "references are"),
        INPUTS["lamp2"],
    ],
)
def test_a_question_without_a_paper_and_two_references_is_named(text: str) -> None:
    data = parsed(
        [question("lamp1"), question("lamp1", id="bad", input=text)],
        outputs("lamp1", q1="[2]", bad="[1]"),
        task="lamp1",
    )
    assert [query.id for query in data.queries] == ["q1"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("bad", "input")]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=1).map(str.strip).filter(bool)


@given(title=WORDS, references=st.tuples(WORDS, WORDS))
def test_paper_and_references_are_found_whatever_they_say(title: str, references: tuple[str, str]) -> None:
    first, second = references
    text = (
        f'For an author who has written the paper with the title "{title}", which reference is related? '
        f'Just answer with [1] or [2] without explanation. [1]: "{first}" [2]: "{second}"'
    )
    assert citation(text) == f'"{title}" [1]: "{first}" [2]: "{second}"'


@pytest.mark.parametrize("gold", ["1", "[3]", "[1] ", "[1] or [2]", 1])
def test_only_the_two_labels_are_citation_golds(gold: object) -> None:
    data = parsed([question("lamp1"), question("lamp1", id="q2")], outputs("lamp1", q1=gold, q2="[1]"), task="lamp1")
    assert ("q1" in data.golds) == (gold == "[1] ")


@pytest.mark.parametrize("task", ["lamp4", "lamp5", "lamp6"])
def test_titles_stand_on_one_line(task: str) -> None:
    item = {**ITEMS[task], "title": " Two\n lines "}
    data = parsed([question(task, profile=[item])], outputs(task, q1="A\r\n  gold"), task=task)
    assert data.histories["q1"][0].label == "Two lines"
    assert data.golds == {"q1": "A gold"}


def test_missing_files_come_with_a_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="`harness data fetch lamp4` downloads"):
        read(SCHEMAS["lamp4"], tmp_path, "dev")
    with pytest.raises(MissingError, match=r"LaMP_6 cannot be downloaded.*LDC2015T03"):
        read(SCHEMAS["lamp6"], tmp_path, "dev")


def test_ten_megabytes_in_an_item_are_cut_quickly_and_counted() -> None:
    item = {"id": "i1", "tag": "comedy", "description": "word " * 2_000_000}
    start = time.perf_counter()
    data = parsed([question(profile=[item], input="description: " + "x" * 10_000_000)])
    assert time.perf_counter() - start < 1
    assert len(data.histories["q1"][0].text) <= MAX_CHARACTERS
    assert len(data.queries[0].text) == MAX_CHARACTERS
    assert data.notes == [f"2 texts were cut to {MAX_CHARACTERS} characters"]


# ----------------------------------------------------------------------------------------------------------------- junk

KEYS = st.sampled_from(["id", "input", "profile", "output", "golds", "task", "text", "tag", "description", "score"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.characters(categories=["Cs"]),
    st.sampled_from(["comedy", "4", "LaMP_2", "review: bad", "description: A fox.", *INPUTS.values()]),
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


@given(task=st.sampled_from(TASKS), questions=JSON, golds=JSON, users=JSON)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused(task: str, questions: object, golds: object, users: object) -> None:
    try:
        data = parse(SCHEMAS[task], NAMES, questions, golds, users)
    except HarnessError:
        return
    assert data.queries


def not_reserved(junk: object) -> bool:
    return not (isinstance(junk, dict) and str(junk.get("id")).strip() == "q1")


JUNK = st.lists(JSON.filter(not_reserved), max_size=4)


@given(task=st.sampled_from(TASKS), before=JUNK, after=JUNK, items=st.lists(JSON, max_size=4), golds=JUNK, late=JUNK)
@settings(max_examples=150, deadline=None)
def test_a_good_record_survives_any_junk(
    task: str, before: list[Any], after: list[Any], items: list[Any], golds: list[Any], late: list[Any]
) -> None:
    good_golds = outputs(task)
    good_golds["golds"] = [*golds, *good_golds["golds"], *late]
    data = parsed([*before, question(task, profile=[ITEMS[task], *items]), *after], good_golds, task=task)
    assert "q1" in [query.id for query in data.queries]
    assert data.golds["q1"] == GOLDS[task]
    assert data.histories["q1"][0] == HISTORIES[task][0]
    assert {query.id for query in data.queries} == set(data.golds)
    assert all(str(fault) for fault in data.faults)


@given(content=st.binary(max_size=40) | JSON.map(lambda junk: json.dumps(junk).encode()))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("junk")
    write(folder / "LaMP_2", questions=content)
    with pytest.raises(HarnessError):
        read(SCHEMAS["lamp2"], folder, "dev")
