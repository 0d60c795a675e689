"""Whose question it is: a profile, or the user that a users file names."""

from typing import Any

import pytest

from harness.api import HarnessError, TaskData
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
