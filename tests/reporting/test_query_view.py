"""One query as every method saw and answered it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.api import HarnessError
from harness.reporting.query_view import inspect_query, print_inspection
from tests.fabricate import CLEAR, filled, record, run_spec, samples, store


def test_one_query_is_shown_side_by_side(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, prompt in (("instruct", "Plain prompt"), ("dpo", "Plain prompt")):
        frame = samples("lamp2", 0.5).assign(prompt=prompt, accuracy=0.5, output="Hi\x1b[31m")
        run.write(record("lamp2", label, frame), frame)
    answers = inspect_query(run, "q3")
    assert [(a.task, a.method, a.seed, a.user, a.scores) for a in answers] == [
        ("lamp2", "dpo", 0, "u1", {"accuracy": 0.5}),
        ("lamp2", "instruct", 0, "u1", {"accuracy": 0.5}),
    ]
    console = Console(file=io.StringIO(), width=120)
    print_inspection(answers, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("Plain prompt") == 1
    assert "Prompt 1: dpo (seed 0), instruct (seed 0)" in text
    assert "\x1b" not in text


def test_a_score_that_only_some_methods_have_is_shown_of_these(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("constant,instruct"))
    for label, scores in (("constant", {"accuracy": 0.5}), ("instruct", {"accuracy": 0.5, "gold_nats": -1.25})):
        frame = samples("lamp2", 0.5).assign(**scores)
        run.write(record("lamp2", label, frame), frame)
    console = Console(file=io.StringIO(), width=120)
    print_inspection(inspect_query(run, "q3"), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"constant \(seed 0\) +0\.5 +–", shown)
    assert re.search(r"instruct \(seed 0\) +0\.5 +-1\.25", shown)


@pytest.mark.parametrize("width", [60, 80, 150])
def test_an_inspected_query_is_shown_whole_however_narrow_the_screen(tmp_path: Path, width: int) -> None:
    label, long = "chameleon:group_size=2,edit=personalized,position=answer_start", "unbelievably-long-answer" * 4
    run = store(tmp_path, run_spec(label))
    scores = [f"a_long_name_of_score_{number}" for number in range(7)]
    frame = samples("lamp2", 0.5).assign(output=long, likely_label="comedy", **dict.fromkeys(scores, 0.25))
    run.write(record("lamp2", label, frame), frame)
    console = Console(file=io.StringIO(), width=width)
    print_inspection(inspect_query(run, "q3"), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for name in ("seed", "prompt", "parsed", *scores):
        assert name in text
    assert text.count("0.25") == len(scores)


def test_samples_without_prompts_are_shown_too(tmp_path: Path) -> None:
    assert [answer.prompt for answer in inspect_query(filled(tmp_path, CLEAR), "q1")] == [""] * 3


def test_cells_without_answers_are_named_with_the_reason_and_do_not_hide_the_others(tmp_path: Path) -> None:
    run = filled(tmp_path, CLEAR)
    run.write(record("lamp2", "llm_rec", None, status="failed", reason="boom"), None)
    next(tmp_path.glob("cells/lamp2/aloe/*/samples.parquet")).write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="Left out") as warned:
        assert [answer.method for answer in inspect_query(run, "q1")] == ["dpo", "instruct"]
    damaged, failed = (str(warning.message) for warning in warned)
    assert re.match(r"Left out: aloe on lamp2, seed 0\. Cannot read .*samples\.parquet: .*damaged", damaged)
    assert failed == "Left out: llm_rec on lamp2, seed 0. It is failed (boom)."


def test_an_unknown_query_is_refused_with_its_nearest(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"No query 'q333'.*Did you mean q33"):
        inspect_query(filled(tmp_path, CLEAR), "q333")
    with pytest.raises(HarnessError, match="No query 'q33 '"):  # bytes that are no UTF-8, as a shell hands them over
        inspect_query(filled(tmp_path, CLEAR), "q33\udcff")
    with pytest.raises(HarnessError, match=r"no run\.json"):
        inspect_query(type(filled(tmp_path / "a", CLEAR))(tmp_path / "none"), "q1")
