"""Ids, names and answers are whatever users wrote: no control character of theirs reaches a terminal, table or page."""

import io

import pytest
from rich.console import Console

from harness.api import Fault, HarnessError, printable
from harness.gate.baseline import Answer, Outcome, Tolerance
from harness.gate.difference_lines import lines, provenance
from harness.gate.differences import compare
from harness.leaderboards.recording import record
from harness.reporting.comparison_report import write
from harness.reporting.query_view import inspect_query, print_inspection
from tests import fabricate

HOSTILE = "\x1b]0;title\x07u[red]\x1b[2J\u202e\x00\x9b1m"


def clean(text):
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.fixture
def store(tmp_path):
    """A run whose first user, query and answer are hostile."""
    spec = fabricate.run_spec("instruct,chameleon")
    made = fabricate.store(tmp_path / "run", spec)
    for number, label in enumerate(("instruct", "chameleon")):
        frame = fabricate.samples("lamp2", 0.5, users=6, seed=number)
        frame.loc[0, ["user_id", "query_id", "output"]] = HOSTILE
        made.write(fabricate.record("lamp2", label, frame), frame.assign(**{"[red]x\x1b": 1.0}))
    return made


def test_a_fault_is_one_clean_line():
    text = str(Fault(f"{HOSTILE}.json", f"a\n{HOSTILE}", "id", HOSTILE))
    assert clean(text)
    assert "\n" not in text
    assert "[red]" in text


def test_an_inspected_query_is_shown_as_it_is_without_control_characters(store):
    console = Console(file=io.StringIO(), width=200)
    print_inspection(inspect_query(store, HOSTILE), console)
    shown = console.file.getvalue()
    assert clean(shown)
    assert "u[red]" in shown
    assert "[red]x" in shown


def test_ids_in_errors_are_clean(store):
    with pytest.raises(HarnessError) as caught:
        inspect_query(store, HOSTILE + "?")
    assert clean(str(caught.value).replace(str(store.root), ""))


def test_line_breaks_stay_only_where_they_are_to_be_kept():
    assert printable("two\nlines\t\x1b", keep="\n") == "two\nlines  "
    assert printable("two\nlines\x1b") == "two lines "


def test_tables_and_records_of_a_run_are_clean(store):
    comparison = fabricate.compare(store)
    for path in write(comparison, store.root):
        if path.suffix in (".csv", ".md"):
            assert clean(path.read_text(encoding="utf-8"))
    for result in record(store.root).results:
        for sample in result.samples:
            assert clean(sample.query + sample.output)


def test_what_a_gate_says_of_a_difference_is_clean():
    def outcome(output):
        answer = Answer(HOSTILE, HOSTILE, "12345678", output, output)
        return Outcome(run=HOSTILE, task="lamp2", method="instruct", seed=0, status="complete", answers=[answer])

    found = compare([outcome("a")], [outcome(HOSTILE)], Tolerance())
    said = [*lines(found), *provenance({HOSTILE: "1"}, {HOSTILE: HOSTILE})]
    assert said
    assert all(map(clean, said))
