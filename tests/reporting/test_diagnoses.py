"""What readers see of a fit's diagnosis: a table, a sentence where it matters, columns of the files."""

import csv
import json
from pathlib import Path

import pytest

from harness.analysis.comparison import Comparison
from harness.api import Diagnosis
from harness.reporting.comparison_report import legend, to_markdown, write
from harness.reporting.comparison_tables import tables
from harness.reporting.conclusions import answer_in_words
from tests.fabricate import compare, record, run_spec, samples, store

CAUTION = "the choice is no better than chance"


def diagnosis(loss: float, caution: str = "") -> Diagnosis:
    return Diagnosis("what it rests on", {"layers": "0, 2", "loss_of_pairs": loss}, "Loss of pairs: a loss.", caution)


def compared(root: Path, found: dict[tuple[str, int], Diagnosis], tasks=("lamp2",), seeds=(0,)) -> Comparison:
    run = store(root, run_spec("instruct,chameleon,dpo", tasks, seeds=seeds))
    for task in tasks:
        for label in ("instruct", "chameleon", "dpo"):
            for seed in seeds:
                frame = samples(task, 0.5, seed=seed)
                own = record(task, label, frame, seed=seed)
                own.diagnosis = found.get((task, seed)) if label == "chameleon" else None
                run.write(own, frame)
    return compare(run)


def test_the_table_has_a_line_per_cell_and_a_column_per_value(tmp_path):
    found = {("lamp2", 0): diagnosis(4.2e-4), ("lamp2", 1): diagnosis(1234.5)}
    table = tables(compared(tmp_path, found, seeds=(0, 1)), "lamp2")[-1]
    assert table.title == "lamp2: what it rests on"
    assert table.columns == ["method", "seed", "layers", "loss of pairs"]
    assert table.rows == [["chameleon", "0", "0, 2", "0.00042"], ["chameleon", "1", "0, 2", "1,234"]]


def test_the_legend_explains_the_columns_once_and_only_where_they_are(tmp_path):
    found = {("lamp2", 0): diagnosis(0.1), ("lamp2", 1): diagnosis(0.2)}
    assert legend(compared(tmp_path / "with", found, seeds=(0, 1))).count("Loss of pairs: a loss.") == 1
    without = compared(tmp_path / "without", {})
    assert "Loss of pairs" not in legend(without)
    assert not any("rests on" in table.title for table in tables(without, "lamp2"))


def test_a_caution_is_one_sentence_for_all_cells_that_have_it(tmp_path):
    found = {(task, seed): diagnosis(0.1, CAUTION) for task in ("lamp2", "lamp3") for seed in (0, 1)}
    answer = answer_in_words(compared(tmp_path, found, ("lamp2", "lamp3"), (0, 1)))
    assert [sentence for sentence in answer if "chance" in sentence and "choice" in sentence] == [
        f"chameleon on lamp2 and lamp3: {CAUTION}."
    ]


def test_a_caution_of_some_seeds_names_them(tmp_path):
    found = {("lamp2", seed): diagnosis(0.1, CAUTION if seed else "") for seed in (0, 1, 2)}
    answer = answer_in_words(compared(tmp_path, found, seeds=(0, 1, 2)))
    assert f"chameleon on lamp2 (seeds 1 and 2): {CAUTION}." in answer


def test_without_a_caution_nothing_is_said(tmp_path):
    answer = " ".join(answer_in_words(compared(tmp_path, {("lamp2", 0): diagnosis(0.1)})))
    assert "rests on" not in answer


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_files_hold_the_diagnosis_of_each_cell(tmp_path, seeds):
    comparison = compared(tmp_path / "run", {("lamp2", seed): diagnosis(0.25, CAUTION) for seed in seeds}, seeds=seeds)
    write(comparison, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    own = [row["diagnosis"] for row in rows if row["method"] == "chameleon"]
    assert [found["values"] for found in own] == [{"layers": "0, 2", "loss_of_pairs": 0.25}] * len(seeds)
    assert all(row["diagnosis"] is None for row in rows if row["method"] != "chameleon")
    with (tmp_path / "out" / "comparison.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["method"] == "chameleon"]
    assert {(line["diagnosis_loss_of_pairs"], line["diagnosis_caution"]) for line in lines} == {("0.25", CAUTION)}
    assert "what it rests on" in (tmp_path / "out" / "comparison.md").read_text()
    assert Comparison.model_validate_json((tmp_path / "out" / "comparison.json").read_text()).rows == comparison.rows


def test_text_of_a_plug_in_is_escaped(tmp_path):
    hostile = Diagnosis("a|b <b>x</b>", {"[red]|_x": "<b>\x1b[31m"}, "<script>", "*bold* <b>\nline")
    text = to_markdown(compared(tmp_path, {("lamp2", 0): hostile}))
    assert "<b>" not in text.replace("\\<b", "")
    assert "<script" not in text.replace("\\<script", "")
    assert "\x1b" not in text
