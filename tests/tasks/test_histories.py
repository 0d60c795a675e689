"""Histories from LaMP files: whose they are, which items are kept, and when they were written."""

from typing import Any

import pytest

from harness.api import HarnessError, TaskData
from harness.tasks.lamp_dates import moment
from harness.tasks.lamp_records import Names, parse
from harness.tasks.lamp_schema import SCHEMAS, identifier
from tests.tasks.made import ITEMS, outputs, question

NAMES = Names("dev_questions.json", "dev_outputs.json", "dev_users.json")
ITEM = ITEMS["lamp3"]


def parsed(questions: list[dict[str, Any]], users: object = None, golds: object = None) -> TaskData:
    asked = {str(one["id"]): "3" for one in questions}
    return parse(SCHEMAS["lamp3"], NAMES, questions, outputs("lamp3", **asked) if golds is None else golds, users)


def asks(key: object, *texts: str, start: int = 0, **fields: Any) -> dict[str, Any]:
    """A question whose profile has an item for each text, numbered from `start`."""
    profile = [{"id": str(start + place), "text": text, "score": "4"} for place, text in enumerate(texts)]
    return question("lamp3", id=key, profile=profile, **fields)


def texts(data: TaskData, user: str) -> list[str]:
    return [item.text for item in data.histories[user]]


# ---------------------------------------------------------------------------------------------------------------- users


def test_the_user_id_of_a_question_is_its_user() -> None:
    data = parsed([asks(f"q{n}", f"a{n % 4}", user_id=n % 4, start=n % 4) for n in range(8)])
    assert [query.user for query in data.queries] == ["0", "1", "2", "3"] * 2
    assert {user: len(items) for user, items in data.histories.items()} == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert (data.faults, data.notes) == ([], [])


def test_the_users_file_goes_before_user_ids() -> None:
    data = parsed([asks("q1", "a", user_id="x"), asks("q2", "a", user_id="x")], {"q1": "ann", "q2": "bob"})
    assert [query.user for query in data.queries] == ["ann", "bob"]


def test_profiles_of_one_user_are_united_and_what_that_means_is_noted() -> None:
    data = parsed([asks("q1", "a", "b", user_id=7), asks("q2", "a", "b", "c", user_id=7)])
    assert texts(data, "7") == ["a", "b", "c"]
    assert data.faults == []
    assert data.notes == [
        "1 of 1 users have questions with different profiles: their history is the union, which may hold items later "
        "than a question"
    ]


def test_items_that_each_question_numbers_anew_are_known_by_their_content() -> None:
    data = parsed([asks("q1", "a", "b", "b", user_id=7), asks("q2", "b", "b", "c", "a", start=90, user_id=7)])
    assert texts(data, "7") == ["a", "b", "b", "c"]
    assert data.faults == []


def test_no_item_is_lost_to_another_of_the_same_number() -> None:
    data = parsed([asks("q1", "a", "b", user_id=7), asks("q2", "c", "b", user_id=7)])
    assert [(item.id, item.text) for item in data.histories["7"]] == [("0", "a"), ("1", "b"), ("0 (q2)", "c")]
    assert [fault.kept for fault in data.faults] == [True]
    assert (data.records_skipped, data.items_skipped) == (0, 0)


def test_a_question_without_a_user_is_nobody_elses() -> None:
    """Its id may be the user id of another question."""
    data = parsed([asks("1", "a", user_id=2), asks("2", "b")])
    assert len({query.user for query in data.queries}) == 2
    assert data.notes == ["1 questions carry no user_id: each counts as a user of its own"]


@pytest.mark.parametrize("user", ["", 1.5, ["u"], True, "\ud800"])
def test_a_bad_user_id_is_named(user: object) -> None:
    data = parsed([asks("q1", "a", user_id=user), asks("q2", "a", user_id=1)])
    assert [query.id for query in data.queries] == ["q2"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("q1", "user_id")]


# ------------------------------------------------------------------------------------------------------------------ ids


@pytest.mark.parametrize("value", [11, 11.0, "11", "11.0", " 11 ", "11.00"])
def test_whole_numbers_are_one_id_however_they_are_written(value: object) -> None:
    assert identifier(value) == "11"


def test_whole_numbers_may_be_as_long_as_ids_of_today_and_only_floats_have_a_limit() -> None:
    assert identifier(9123456789012345678) == "9123456789012345678"
    with pytest.raises(ValueError, match="write it as text"):
        identifier(9.1e18)


@pytest.mark.parametrize(
    "value", [11.5, float("nan"), float("inf"), True, 1e18, 1e300, None, "", "x" * 501, ["11"], "\udfff", "u1\0"]
)
def test_other_values_are_no_ids(value: object) -> None:
    with pytest.raises(ValueError, match="is "):
        identifier(value)


@pytest.mark.parametrize("value", ["1.10", "1.0.0", "a.0", "v1.0", ".0", "1."])
def test_other_texts_are_ids_as_they_are(value: str) -> None:
    assert identifier(value) == value


def test_questions_golds_users_and_items_may_have_ids_as_floats() -> None:
    golds = {"task": "LaMP_3", "golds": [{"id": 100.0, "output": "3"}]}
    item = {**ITEM, "id": 11.0}
    data = parsed([question("lamp3", id=100, profile=[item])], {"100.0": 5.0}, golds)
    assert [(query.id, query.user) for query in data.queries] == [("100", "5")]
    assert data.golds == {"100": "3"}
    assert [item.id for item in data.histories["5"]] == ["11"]
    assert data.faults == []


@pytest.mark.parametrize("key", [None, "", 1.5, {}, True])
def test_an_item_that_lacks_only_its_id_is_kept_by_its_place(key: object) -> None:
    items = [{**ITEM, "id": key, "text": text} for text in ("a", "a", "b")]
    data = parsed([question("lamp3", profile=[*items, ITEM])])
    assert [(item.id, item.text) for item in data.histories["q1"]] == [
        ("q1[0]", "a"),
        ("q1[1]", "a"),
        ("q1[2]", "b"),
        ("i1", "Fine."),
    ]
    assert {(fault.field, fault.kept) for fault in data.faults} == {(f"profile[{n}].id", True) for n in range(3)}
    assert data.notes == ["3 history items have no usable id and go by their place in the file"]
    assert data.records_skipped == 0


def test_items_without_ids_are_united_by_content() -> None:
    def nameless(key: str, *texts: str) -> dict[str, Any]:
        return question("lamp3", id=key, user_id=1, profile=[{"text": text, "score": 4} for text in texts])

    data = parsed([nameless("q1", "a", "b"), nameless("q2", "b", "c")])
    assert texts(data, "1") == ["a", "b", "c"]


# --------------------------------------------------------------------------------------------------------- lost history


def test_nothing_to_personalize_with_is_an_error() -> None:
    questions = [question("lamp3", id=key, profile=[{"id": "1", "text": "a", "stars": 4}] * 3) for key in ("q1", "q2")]
    with pytest.raises(HarnessError, match=r"none of its 6 history items can be used.*6 faults: .*profile\[0\].score"):
        parsed(questions)


def test_skipped_items_are_counted_and_noted() -> None:
    data = parsed([question("lamp3", profile=[ITEM, {**ITEM, "id": "i2", "score": 9}, "junk"])])
    assert (data.items_found, data.items_skipped, data.records_skipped) == (3, 2, 2)
    assert data.notes == ["2 of 3 history items could not be used"]


def test_a_user_whose_items_are_all_lost_is_kept_beside_others() -> None:
    data = parsed([question("lamp3", profile=["junk"]), question("lamp3", id="q2")])
    assert data.histories["q1"] == ()
    assert len(data.histories["q2"]) == 1


# ---------------------------------------------------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2016-08-15", "2016-08-15"),
        ("2016-8-5", "2016-08-05"),
        ("2016/08/15", "2016-08-15"),
        ("2016-08", "2016-08"),
        (2014, "2014"),
        (2014.0, "2014"),
        ("2014", "2014"),
        (20160815, "2016-08-15"),
        ("2016-08-15 00:00:00", "2016-08-15"),
        ("2016-08-15T10:30:00+02:00", "2016-08-15T08:30:00"),
        ("2016-08-15T10:30:00Z", "2016-08-15T10:30:00"),
        (1252800000, "2009-09-13T00:00:00"),
        ("1252800000", "2009-09-13T00:00:00"),
        (1252800000500, "2009-09-13T00:00:00.500000"),
        ("09 13, 2009", "2009-09-13"),
        ("Mon Apr 06 22:19:45 PDT 2009", "2009-04-06T22:19:45"),
        ("Mon, 14 May 2001 16:39:00 -0700 (PDT)", "2001-05-14T23:39:00"),
        (None, ""),
        ("", ""),
    ],
)
def test_dates_of_many_forms_are_read(value: object, text: str) -> None:
    assert moment(value) == text


@pytest.mark.parametrize(
    "value", ["soon", "2016-13-01", 5, -1, 0, 1.5, float("nan"), float("inf"), 10**400, True, [], {}, "9" * 5000]
)
def test_what_is_no_date_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no date"):
        moment(value)


def test_items_carry_their_date() -> None:
    data = parsed([question("lamp3", profile=[{**ITEM, "date": "2016-08-15"}])])
    assert [item.date for item in data.histories["q1"]] == ["2016-08-15"]


def test_a_bad_date_is_a_fault_of_an_item_that_is_kept() -> None:
    data = parsed([question("lamp3", profile=[{**ITEM, "date": "soon"}])])
    assert [item.date for item in data.histories["q1"]] == [""]
    [fault] = data.faults
    assert (fault.field, fault.kept) == ("profile[0].date", True)
    assert data.notes == ["1 history items have a date that cannot be read and count as undated"]
