"""Whose question it is: a profile, or the user that a users file names."""

from typing import Any

import pytest

from harness.api import HarnessError, TaskData
from harness.tasks import lamp_profiles
from tests.tasks.made import ITEMS, outputs, parsed, question


def two_questions(first: list[Any], second: list[Any]) -> TaskData:
    questions = [question(profile=first), question(id="q2", profile=second)]
    return parsed(questions, outputs(q1="comedy", q2="sci-fi"), {"q1": "u", "q2": "u"})


def test_profiles_of_one_user_are_united_in_file_order() -> None:
    items = [{**ITEMS["lamp2"], "id": str(number)} for number in range(4)]
    data = two_questions([items[2], items[0]], [items[0], items[3], items[1]])
    assert [item.id for item in data.histories["u"]] == ["2", "0", "3", "1"]
    assert {query.user for query in data.queries} == {"u"}
    assert data.faults == []


def test_two_items_of_one_id_are_named_and_both_are_kept() -> None:
    data = two_questions([ITEMS["lamp2"]], [{**ITEMS["lamp2"], "tag": "classic"}])
    assert [(item.id, item.label) for item in data.histories["u"]] == [("i1", "comedy"), ("i1 (q2)", "classic")]
    [fault] = data.faults
    assert (fault.record, fault.field, fault.kept) == ("q2", "profile[0].id", True)
    assert "another item too, met earlier" in fault.problem


@pytest.mark.parametrize("users", [{}, {"q1": None}, {"q1": ["u"]}])
def test_a_question_without_a_user_is_named(users: dict[str, Any]) -> None:
    data = parsed([question(), question(id="q2")], outputs(q1="comedy", q2="comedy"), {**users, "q2": "u"})
    assert [query.id for query in data.queries] == ["q2"]
    assert [(fault.record, fault.field) for fault in data.faults] == [("q1", "user")]


def test_users_of_questions_that_do_not_exist_are_named_and_counted() -> None:
    data = parsed([question()], None, {"q1": "u", "q2": "u", "gone": "w"})
    assert [str(fault) for fault in data.faults] == [
        "dev_users.json: record q2: field id: no question has this id",
        "dev_users.json: record gone: field id: no question has this id",
    ]
    assert data.notes == ["2 entries of dev_users.json are of no question"]


def test_a_question_whose_user_is_named_twice_is_nobodys() -> None:
    two = {"q1": "u", "11": "v", "11.0": "w"}
    data = parsed([question(), question(id=11)], outputs(**{"q1": "comedy", "11": "comedy"}), two)
    assert [query.id for query in data.queries] == ["q1"]
    assert [str(fault) for fault in data.faults] == [
        "dev_questions.json: record 11: field user: dev_users.json names its user more than once"
    ]


def test_unnamed_questions_with_one_history_are_of_one_user() -> None:
    items = [{"id": str(n), "tag": "comedy", "description": f"Film {n}."} for n in range(3)]
    renumbered = [{**item, "id": f"other {place}"} for place, item in enumerate(reversed(items))]
    others = [*items[:2], {**items[2], "tag": "classic"}]
    profiles = {"q1": items, "q2": others, "q3": renumbered, "q4": items[:2], "q5": items[:2]}
    questions = [question(id=key, profile=profile) for key, profile in profiles.items()]
    data = parsed(questions, outputs(**dict.fromkeys(profiles, "comedy")))
    assert [query.user for query in data.queries] == ["q1", "q2", "q1", "q4", "q5"]  # two items may recur by chance
    assert not data.names_users
    assert data.notes == [
        "1 questions count as those of users met before: no file says whose they are, but they show the same history"
    ]


def test_work_for_the_questions_of_one_user_grows_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    content = lamp_profiles._content
    monkeypatch.setattr(lamp_profiles, "_content", lambda item: compared.append(item) or content(item))

    def work(count: int) -> int:
        compared.clear()
        keys = [f"q{number}" for number in range(count)]
        questions = [question(id=key, profile=[{**ITEMS["lamp2"], "id": key, "description": key}]) for key in keys]
        data = parsed(questions, outputs(**dict.fromkeys(keys, "comedy")), dict.fromkeys(keys, "u"))
        assert len(data.histories["u"]) == count
        return len(compared)

    assert work(40) < 3 * work(20)


def test_named_users_stay_apart_whatever_they_wrote() -> None:
    items = [{"id": str(n), "tag": "comedy", "description": f"Film {n}."} for n in range(3)]
    questions = [question(id=key, profile=items, user_id=key.upper()) for key in ("q1", "q2")]
    data = parsed(questions, outputs(q1="comedy", q2="comedy"))
    assert set(data.histories) == {"Q1", "Q2"}
    assert data.names_users


def test_questions_that_cannot_be_used_are_noted() -> None:
    data = parsed([question(), question(id="q2"), "none"], outputs(q1="comedy", q2="Sci Fi"))
    assert "2 of 3 questions could not be used (`harness data check` says why)" in data.notes


def test_one_id_for_two_items_of_a_profile_loses_neither() -> None:
    profile = [ITEMS["lamp2"], {**ITEMS["lamp2"], "tag": "classic"}, ITEMS["lamp2"]]
    data = parsed([question(profile=profile)])
    assert [(item.id, item.label) for item in data.histories["q1"]] == [("i1", "comedy"), ("i1 (q1)", "classic")]
    assert [(fault.field, fault.kept) for fault in data.faults] == [("profile[1].id", True), ("profile[2].id", False)]


def test_items_that_all_have_one_id_go_by_their_places() -> None:
    profile = [{**ITEMS["lamp2"], "description": f"Film {number}."} for number in range(4)]
    data = parsed([question(profile=profile)])
    assert [item.id for item in data.histories["q1"]] == ["i1", "i1 (q1)", "i1 (q1[2])", "i1 (q1[3])"]


def test_users_that_are_no_map_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"dev_users.json: expected"):
        parsed([question()], None, ["u"])


def test_an_empty_history_is_a_user_and_is_counted() -> None:
    data = parsed([question(profile=[])])
    assert data.histories == {"q1": ()}
    assert data.notes == ["1 of 1 users have an empty history"]
