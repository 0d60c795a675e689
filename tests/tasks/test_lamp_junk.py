"""Any JSON and any bytes are read or refused, and a good record survives them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.tasks.lamp_directory import read
from harness.tasks.lamp_records import parse
from harness.tasks.lamp_schema import SCHEMAS
from tests.tasks.made import GOLDS, HISTORIES, INPUTS, ITEMS, NAMES, TASKS, outputs, parsed, question, write

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
