"""What people read of a comparison: the tables on screen and in Markdown, and the files."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.analysis.comparison import Comparison
from harness.reporting.comparison_report import print_report, to_markdown, write
from harness.reporting.comparison_tables import tables
from tests.fabricate import CLEAR, answer, compare, filled, record, run_spec, samples, store

HOSTILE = "a|b <b>x</b> *y* [red]z[/red]\x1b[31m\nnew line"


def screen(comparison: Comparison, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_report(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("qualities", [{"dpo": 0.9}, {"instruct": 0.5}, {"dpo": 0.9, "aloe": 0.8}])
def test_any_choice_of_methods_gives_a_report(tmp_path: Path, qualities: dict[str, float]) -> None:
    comparison = compare(filled(tmp_path, qualities, ("lamp2", "lamp3")))
    assert answer(comparison)
    assert screen(comparison)
    assert to_markdown(comparison)


def test_a_run_without_a_single_answer_gives_a_report(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("dpo"))
    run.write(record("lamp2", "dpo", None, status="interrupted"), None)
    comparison = compare(run)
    assert "nothing can be said" in answer(comparison)
    assert "interrupted" in screen(comparison)
    assert [path.name for path in write(comparison, tmp_path)] == [
        *("comparison.json", "comparison.csv", "comparison.md", "users.csv"),
    ]


def test_the_answer_comes_before_the_tables(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, CLEAR))
    for text in (screen(comparison), to_markdown(comparison)):
        assert (
            text.index("dpo is best")
            < text.index("lamp2: scores")
            < text.index("lamp2: users")
            < text.index("lamp2: costs")
        )


def test_the_best_is_bold_and_ties_are_marked(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.5, "dpo": 0.55}, ("lamp2", "lamp3")))
    table = tables(comparison, "lamp2")[0]
    best = next(row for row, _ in table.bold)
    assert "≈" in table.rows[1 - best][1]
    assert "≈" not in table.rows[best][1]
    assert "**0." in to_markdown(comparison)
    assert "accuracy ↑" in table.columns
    assert "mae ↓" in tables(comparison, "lamp3")[0].columns


def test_no_screen_is_too_narrow_for_whole_numbers(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.5, "chameleon:edit=personalized,pair_text=full": 0.9}))
    for width in (60, 80, 100, 160):
        shown = screen(comparison, width)
        assert max(map(len, shown.splitlines())) <= width
        for table in tables(comparison, "lamp2"):
            assert all(line in shown for row in table.rows for cell in row[1:] for line in cell.splitlines())
            assert all(word in shown for column in table.columns for word in column.split())
    assert "(continued)" not in screen(comparison, 160)


def test_nulls_stand_beside_their_minimum_detectable_difference(tmp_path: Path) -> None:
    table = tables(compare(filled(tmp_path, CLEAR)), "lamp2")[0]
    cells = {row[0]: row[2] for row in table.rows}
    assert "MDD" in cells["aloe"]
    assert "MDD" not in cells["dpo"]


def test_several_seeds_get_a_table_of_their_own(tmp_path: Path) -> None:
    run, frame = store(tmp_path, run_spec("instruct", seeds=(0, 1))), samples("lamp2", 0.5)
    for seed in (0, 1):
        run.write(record("lamp2", "instruct", frame, seed=seed), frame)
    assert [table.title for table in tables(compare(run), "lamp2")] == [
        *("lamp2: scores", "lamp2: users by their own accuracy", "lamp2: accuracy ↑ by history items"),
        *("lamp2: costs, with a budget of 1 min per fit", "lamp2: seeds"),
    ]


def test_a_difference_over_several_seeds_says_how_fits_vary(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1, 2)))
    for seed in (0, 1, 2):
        for label, quality in {"instruct": 0.2, "dpo": 0.5 + 0.1 * seed}.items():
            frame = samples("lamp2", quality, seed=seed if label == "dpo" else 9)
            run.write(record("lamp2", label, frame, seed=seed), frame)
    scores, *_, seeds = tables(compare(run), "lamp2")
    cells = {row[0]: row[2] for row in scores.rows}
    assert re.search(r"±0\.\d+ over 3 fits,\np = ", cells["dpo"])
    assert not any("over 3 fits" in cell for row in seeds.rows for cell in row)


def test_the_best_and_those_tied_with_it_are_marked_in_every_table(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo,aloe", seeds=(0, 1, 2)))
    for seed in (0, 1, 2):
        for label, quality in {"instruct": 0.2, "dpo": 0.9, "aloe": 0.88}.items():
            frame = samples("lamp2", quality, seed=10 * seed + len(label))
            run.write(record("lamp2", label, frame, seed=seed), frame)
    comparison = compare(run)
    best, tied = comparison.rankings[0].best, comparison.rankings[0].tied
    assert (best, tied) in [("dpo", ["aloe"]), ("aloe", ["dpo"])]
    for table in tables(comparison, "lamp2"):
        marked = {row[0].removesuffix(" ≈") for row in table.rows if any("≈" in cell for cell in row[:3])}
        bold = {table.rows[row][0] for row, column in table.bold if column < 3}
        assert (bold, marked) == ({best}, set(tied)), table.title
    frame = comparison.to_pandas()
    standings = dict(zip(frame["method"], frame["accuracy_standing"], strict=True))
    assert standings == {"instruct": "behind", best: "best", tied[0]: "tied"}


def test_an_overrun_method_is_unranked_everywhere(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, CLEAR), samples("lamp2", 0.9)
    run.write(record("lamp2", "dpo", frame, status="overran", fit_seconds=70), frame)
    flat = compare(run).to_pandas().set_index("method")
    assert flat.loc["dpo", "accuracy_standing"] == "unranked"
    assert flat.loc["dpo", "on_front"] is None or flat.isna().loc["dpo", "on_front"]


def test_a_seed_that_kept_the_budget_stands_where_its_method_does(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1)))
    for seed, status in ((0, "complete"), (1, "overran")):
        for label, own in (("instruct", "complete"), ("dpo", status)):
            frame = samples("lamp2", 0.9 if label == "dpo" else 0.2, seed=seed)
            run.write(record("lamp2", label, frame, seed=seed, status=own), frame)
    flat = compare(run).to_pandas().set_index(["method", "seed"])["accuracy_standing"]
    assert flat.to_dict() == {
        ("instruct", 0): "best",
        ("instruct", 1): "best",
        ("dpo", 0): "unranked",
        ("dpo", 1): "unranked",
    }


def test_an_overrun_method_is_not_said_to_be_better_where_no_method_is(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, {"instruct": 0.2, "aloe": 0.2}), samples("lamp2", 0.95)
    run.write(record("lamp2", "dpo", frame, status="overran", fit_seconds=70), frame)
    text = answer(compare(run))
    assert "no method " in text
    assert "Better than instruct" not in text
    assert "dpo on lamp2 overran its budget of 1 min by 10 s and does not rank." in text


def test_the_users_table_adds_up_and_histories_of_one_length_need_no_table(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, quality in (("instruct", 0.3), ("dpo", 0.8)):
        frame = samples("lamp2", quality, seed=len(label)).assign(history_items=12)
        run.write(record("lamp2", label, frame), frame)
    comparison = compare(run)
    titles = [table.title for table in tables(comparison, "lamp2")]
    assert titles[1] == "lamp2: users by their own accuracy, who all have 9–16 history items"
    assert not any("by history items" in title for title in titles)
    cells = dict(zip(tables(comparison, "lamp2")[1].columns, tables(comparison, "lamp2")[1].rows[1], strict=True))
    shares = [float(cells[name].rstrip("%")) for name in ("better off", "as before", "worse off")]
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_what_one_more_user_takes_is_shown(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, CLEAR), samples("lamp2", 0.9)
    everybody = record("lamp2", "aloe", frame).model_copy(update={"serves_newcomers": True})
    run.write(everybody, frame)
    unknown = record("lamp2", "instruct", frame).model_copy(update={"serves_newcomers": None})
    run.write(unknown, frame)
    table = next(table for table in tables(compare(run), "lamp2") if "costs" in table.title)
    cells = {row[0].removesuffix(" ≈"): row[table.columns.index("one more user")] for row in table.rows}
    assert cells == {"instruct": "–", "dpo": "0.70 s,\n120 tokens,\n614 B", "aloe": "nothing"}


def test_foreign_text_is_inert(tmp_path: Path) -> None:
    run = filled(tmp_path, CLEAR)
    run.write(record("lamp2", "llm_rec", None, status="failed", reason=HOSTILE), None)
    comparison = compare(run)
    text, shown = to_markdown(comparison), screen(comparison, 400)
    assert "\x1b" not in text + shown
    assert "a\\|b \\<b\\>x" in text
    assert "[red]z[/red]" in shown
    rows = [line for line in text.splitlines() if line.startswith("| llm")]
    widths = {line.count(" | ") for line in text.split("lamp2: users")[0].splitlines() if line.startswith("| ")}
    assert rows
    assert len(widths) == 1


def test_files_are_written_whole_and_can_be_written_again(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, CLEAR))
    paths = write(comparison, tmp_path)
    assert sorted(path.name for path in paths) == [
        *("comparison.csv", "comparison.json", "comparison.md"),
        *("lamp2-cost.png", "lamp2-history.png", "lamp2-users.png", "lamp2.png", "users.csv"),
    ]
    before = [path.read_bytes() for path in paths[:4]]
    write(comparison, tmp_path)
    assert [path.read_bytes() for path in paths[:4]] == before
    assert not list(tmp_path.rglob(".*"))
    with paths[1].open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == list(CLEAR)
    assert [row["method"] for row in json.loads(paths[0].read_text())["rows"]] == list(CLEAR)
