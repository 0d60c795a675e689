"""What one task's field may hold: scores, markers, citations, titles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.lamp_schema import citation
from tests.tasks.made import HISTORIES, INPUTS, ITEMS, QUERIES, TASKS, outputs, parsed, question

MARKERS = {
    "lamp1": "which reference is related?",
    "lamp2": "description:",
    "lamp3": "review:",
    "lamp4": "article:",
    "lamp5": "of a paper:",
    "lamp6": "email:",
    "lamp7": "explanation before or after it:",
}


@pytest.mark.parametrize(("score", "kept"), [("5", "5"), (5, "5"), (5.0, "5"), ("5.0", "5"), (" 5 ", "5")])
def test_scores_may_be_text_or_numbers(score: object, kept: str) -> None:
    data = parsed([question("lamp3", profile=[{"id": "i1", "text": "Fine.", "score": score}])], task="lamp3")
    assert data.histories["q1"][0].label == kept


@pytest.mark.parametrize("score", [0, 6, 4.5, True, float("nan"), float("inf"), "four", "", None, "-1", 10**400])
def test_other_scores_are_faults(score: object) -> None:
    items = [{"id": "i0", "text": "Fine.", "score": score}, ITEMS["lamp3"]]
    data = parsed([question("lamp3", profile=items)], task="lamp3")
    assert (data.histories, data.faults[0].field) == ({"q1": HISTORIES["lamp3"]}, "profile[0].score")
    assert (data.items_found, data.items_skipped) == (2, 1)


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
