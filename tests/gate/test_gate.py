"""The gate: baseline files, differences and what a person reads, and `harness check` from end to end."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.gate.baseline import Answer, Baseline, Key, Outcome, Run, Tolerance, read, require_cells, write
from harness.gate.difference_lines import lines, provenance
from harness.gate.differences import compare
from harness.specs.resolve import resolve

KEY = Key("main", "lamp3", "aloe", 0)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
answers = st.builds(Answer, texts, texts, texts, texts, texts)


def outcome(outputs="abcd", **changes) -> Outcome:
    rows = [Answer(f"u{number}", f"q{number}", "12345678", text, text) for number, text in enumerate(outputs)]
    fields = {"status": "complete", "metrics": {"mae": 0.5}, "counters": {"samples_used": 4.0, "training_loss": 0.25}}
    return Outcome(**{**KEY._asdict(), **fields, "answers": rows, **changes})


def differences(expected, got, **tolerance):
    return compare([expected], [got], Tolerance(**tolerance))


def baseline(*cells) -> Baseline:
    return Baseline(runs=[Run(name="main", spec=resolve("instruct", "lamp3", budget=60.0))], cells=list(cells))


def check(path: Path, *arguments):
    """`harness check` in this process, which imports torch once."""
    return CliRunner().invoke(app, ["check", "--baseline", str(path), *arguments])


def test_the_same_outcome_is_no_difference():
    assert differences(outcome(), outcome()) == []


def test_every_kind_of_change_is_named():
    (metric,) = differences(outcome(), outcome(metrics={"mae": 0.75}))
    assert [(value.name, value.expected, value.got) for value in metric.values] == [("mae", 0.5, 0.75)]
    (counter,) = differences(outcome(), outcome(counters={"samples_used": 3.0, "training_loss": 0.25}))
    assert counter.kinds == {"samples_used"}
    (status,) = differences(outcome(), outcome(status="failed", reason="RuntimeError: no"))
    assert "expected complete, got failed (RuntimeError: no)" in "\n".join(lines([status]))
    (prompt,) = differences(
        outcome(), outcome(answers=[Answer("u0", "q0", "87654321", "a", "a"), *outcome().answers[1:]])
    )
    assert prompt.kinds == {"prompts"}
    (reading,) = differences(
        outcome(), outcome(answers=[Answer("u0", "q0", "12345678", "a", "b"), *outcome().answers[1:]])
    )
    assert reading.kinds == {"predictions"}
    (missing,) = differences(outcome(), outcome("abc"))
    assert missing.kinds == {"answers"}


def test_a_cell_that_is_gone_or_new_is_a_difference():
    (gone,) = compare([outcome()], [], Tolerance())
    (new,) = compare([], [outcome()], Tolerance())
    assert not gone.tolerated
    assert not new.tolerated


def test_changed_answers_are_shown_with_their_user():
    text = "\n".join(lines(differences(outcome("abcd"), outcome("abxy"))))
    assert "main / lamp3 / aloe / seed 0" in text
    assert "2 of 4 answers changed; users u2, u3" in text
    assert 'q2: "c" -> "x"' in text


def test_a_tolerated_share_of_changed_answers_lets_metrics_follow_but_no_counter():
    allowed = {"answers": {"aloe": 0.25}}
    (one,) = differences(outcome("abcd"), outcome("abcx", metrics={"mae": 0.75}), **allowed)
    assert one.tolerated
    (two,) = differences(outcome("abcd"), outcome("abyx", metrics={"mae": 0.75}), **allowed)
    assert not two.tolerated
    counted = outcome("abcx", counters={"samples_used": 3.0, "training_loss": 0.25})
    assert not differences(outcome("abcd"), counted, **allowed)[0].tolerated
    assert not differences(outcome("abcd"), outcome("abcd", metrics={"mae": 0.75}), **allowed)[0].tolerated


def test_only_numbers_that_are_not_whole_have_a_tolerance():
    near = outcome(counters={"samples_used": 4.0, "training_loss": 0.2501})
    assert differences(outcome(), near) == []
    assert differences(outcome(), near, numbers=0.0)
    many = Tolerance(numbers=0.5)
    assert compare([outcome(counters={"n": 1000.0})], [outcome(counters={"n": 1001.0})], many)


@settings(max_examples=25)
@given(st.lists(answers, max_size=3, unique_by=lambda answer: answer.query))
def test_a_baseline_reads_back_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "round.json"
    made = baseline(outcome(answers=rows))
    write(made, path)
    assert read(path) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "no baseline of this version"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "schema_version"),
        (lambda text: text.replace('"runs"', '"ruins"'), "runs"),
        (lambda text: text.replace('"status"', '"state"'), "cells.0.status"),
        (lambda text: text.replace('"seed":0', '"seed":1'), "no outcome of main / lamp3 / instruct / seed 0"),
    ],
)
def test_a_broken_baseline_is_named_with_its_fault(tmp_path, change, message):
    path = tmp_path / "ci.json"
    write(baseline(outcome(method="instruct")), path)
    require_cells(read(path), path)
    path.write_text(change(path.read_text()))
    with pytest.raises(HarnessError, match=message):
        require_cells(read(path), path)


def test_versions_that_changed_are_named():
    (line,) = provenance({"version of torch": "2.12", "model x": "aa"}, {"version of torch": "2.13", "model x": "aa"})
    assert line == "version of torch: 2.12 when the baseline was made, 2.13 here"


def test_a_baseline_of_ones_own_is_made_checked_and_accepted(tmp_path):
    path = tmp_path / "my.json"
    made = check(path, "--update", "--methods", "instruct,constant", "--tasks", "lamp3", "--users", "3")
    assert made.exit_code == 0, made.output
    passed = check(path)
    assert passed.exit_code == 0, passed.stdout
    assert "All 4 cells are as in" in passed.stdout
    content = json.loads(path.read_text())
    content["cells"][0]["answers"][0][3] = "no such answer"
    path.write_text(json.dumps(content))
    failed = check(path)
    assert failed.exit_code == 1
    assert "DIFFERENT  answers / lamp3 / instruct / seed 0" in failed.stdout
    assert '"no such answer" -> "' in failed.stdout
    accepted = check(path, "--update")
    assert accepted.exit_code == 0
    assert '"no such answer" -> "' in accepted.stdout
    assert "4 cells, 1 of them accepted as they are now" in accepted.stdout


def test_no_baseline_is_made_of_failures(tmp_path, monkeypatch):
    def fail(self, context):
        raise RuntimeError("no notes today")

    monkeypatch.setattr("harness.methods.llm_rec.LlmRec.fit", fail)
    path = tmp_path / "my.json"
    made = check(path, "--update", "--methods", "llm_rec", "--tasks", "lamp3", "--users", "2")
    assert isinstance(made.exception, HarnessError)
    assert "2 of 2 cells failed" in str(made.exception)
    assert "answers / lamp3 / llm_rec / seed 0: RuntimeError: no notes today" in str(made.exception)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "There is no baseline"),
        ("{}", [], "is no baseline"),
        (None, ["--methods", "instruct"], "takes --update"),
        (None, ["--update", "--methods", "instrukt"], "Did you mean instruct"),
        (None, ["--tasks", "lamp3"], "--tasks would change nothing"),
        ("{}", ["--update", "--preset", "small", "--users", "3"], "--preset, --users would change nothing"),
        ("{}", ["--model", "tiny-t5", "--data", "synthetic"], "--model, --data would change nothing"),
    ],
)
def test_a_request_that_cannot_be_met_ends_with_status_2_and_writes_nothing(tmp_path, content, arguments, message):
    path = tmp_path / "ci.json"
    if content is not None:
        path.write_text(content)
    result = check(path, *arguments)
    assert isinstance(result.exception, HarnessError)  # which the program prints, with status 2
    assert message in str(result.exception)
    assert path.exists() == (content is not None)
