"""What people read: the answer in words, the tables on screen and in Markdown, the files, one query side by side."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness import formatting
from harness.analysis.comparison import Comparison
from harness.api import HarnessError
from harness.reporting.comparison_report import print_report, to_markdown, write
from harness.reporting.comparison_tables import tables
from harness.reporting.conclusions import answer_in_words
from harness.reporting.query_view import inspect_query, print_inspection
from tests.fabricate import compare, filled, pair_of, record, run_spec, samples, store

CLEAR = {"instruct": 0.2, "dpo": 0.9, "aloe": 0.25}
HOSTILE = "a|b <b>x</b> *y* [red]z[/red]\x1b[31m\nnew line"


def answer(comparison: Comparison) -> str:
    return "\n".join(answer_in_words(comparison))


def screen(comparison: Comparison, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_report(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_winner_is_named_with_cost_and_regret(tmp_path: Path) -> None:
    text = answer(compare(filled(tmp_path, CLEAR)))
    assert "dpo is best, 0." in text
    assert "better than instruct, p < 0.001 after Holm)" in text or "better than instruct, p = 0.00" in text
    assert "All others that rank are worse beyond chance." in text
    assert "dpo took 7 s" in text
    assert "A new user costs dpo about 0.70 s and 614 B." in text
    assert "worse off" in text


def test_a_control_that_is_ahead_is_called_one_and_the_best_method_is_named(tmp_path: Path) -> None:
    text = answer(compare(filled(tmp_path, {"instruct": 0.2, "dpo": 0.5, "constant": 0.95})))
    assert "constant is best, 0." in text
    assert "constant is a control, and no method is ahead of it: the best is dpo, 0." in text
    assert "Better than instruct beyond chance: dpo." in text
    assert "control" not in answer(compare(filled(tmp_path / "methods", CLEAR)))


def test_a_fit_that_serves_everybody_is_said_to(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, CLEAR), samples("lamp2", 0.95)
    run.write(record("lamp2", "dpo", frame).model_copy(update={"serves_newcomers": True}), frame)
    assert "dpo serves a new user without another fit." in answer(compare(run))


def test_an_instrument_is_called_one_and_a_real_model_is_not(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, CLEAR))
    assert "tiny-llama, is a small test instrument" in answer(comparison)
    assert "a test instrument" in to_markdown(comparison)
    real = comparison.model_copy(update={"spec": comparison.spec.model_copy(update={"model": "mistral"})})
    assert "instrument" not in answer(real) + to_markdown(real)


def test_a_null_says_what_would_have_gone_unnoticed_and_how_many_users_would_tell(tmp_path: Path) -> None:
    text = answer(compare(filled(tmp_path, {"instruct": 0.5, "dpo": 0.55})))
    assert "no method is better than instruct beyond chance. dpo scores best, 0." in text
    assert "; if that is the true gain, about 3,972 users would show it)." in text
    assert "With 40 users, a difference from instruct below about 0." in text
    assert "would probably have gone unnoticed" in text
    assert "No method of this run moved tiny-llama on lamp2, so the null may be the instrument's." in text


def test_a_sample_too_small_for_any_verdict_is_called_so(tmp_path: Path) -> None:
    assert "no difference whatever could have been told from chance" in answer(
        compare(filled(tmp_path, {"instruct": 0.1, "dpo": 0.95}, users=4))
    )


def test_where_few_users_score_otherwise_no_difference_is_called_detectable(tmp_path: Path) -> None:
    run, same = store(tmp_path, run_spec("instruct,aloe,dpo")), samples("lamp2", 0.5)
    right = same.index[same["prediction"] == same["gold"]]
    changed = same.assign(prediction=same["prediction"].mask(same.index == right[0], "none"))
    for label, frame in (("instruct", same), ("dpo", changed), ("aloe", samples("lamp2", 0.55, seed=1))):
        run.write(record("lamp2", label, frame), frame)
    found = compare(run)
    assert "Too few users score otherwise under dpo than under instruct to tell a difference." in answer(found)
    assert pair_of(found, "dpo", "instruct").minimum_detectable is None
    assert (pair_of(found, "aloe", "instruct").minimum_detectable or 0) > 0


def test_harm_is_said_plainly(tmp_path: Path) -> None:
    text = answer(compare(filled(tmp_path, {"instruct": 0.95, "dpo": 0.1})))
    assert "no method scores better than instruct, the model as it is, at 0." in text
    assert "Worse than instruct beyond chance: dpo." in text


def test_identical_answers_are_called_identical(tmp_path: Path) -> None:
    run, frame = store(tmp_path, run_spec("instruct,dpo")), samples("lamp2", 0.5)
    for label in ("instruct", "dpo"):
        run.write(record("lamp2", label, frame), frame)
    assert "dpo answered exactly as instruct." in answer(compare(run))


def test_mishaps_are_named(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, CLEAR), samples("lamp2", 0.5)
    run.write(record("lamp2", "dpo", frame, status="overran", fit_seconds=63.5), frame)
    run.write(record("lamp2", "llm_rec", None, status="failed", reason="no room."), None)
    stopped = record("lamp2", "aloe", frame, status="budget_exhausted", fit_seconds=59)
    run.write(stopped.model_copy(update={"parse_failures": 0.4}), frame)
    text = answer(compare(run))
    assert "dpo on lamp2 overran its budget of 1 min by 3.5 s and does not rank." in text
    assert "llm_rec on lamp2 failed: no room." in text
    assert "The budget of 1 min cut short: aloe on lamp2." in text
    assert "aloe on lamp2: 40% of the answers could not be read" in text


def test_of_answers_that_are_none_to_the_task_the_commonest_of_all_seeds_is_shown(tmp_path: Path) -> None:
    run, frame = store(tmp_path, run_spec("instruct", seeds=(0, 1))), samples("lamp2", 0.5)
    for seed, texts in ((0, ["", "", "", "1. comedy", "It is sad"]), (1, ["1. comedy", "Funny", "Fun"])):
        told = frame.assign(
            prediction=[*texts, *frame["prediction"][len(texts) :]],
            parsed=[False] * len(texts) + [True] * (len(frame) - len(texts)),
        )
        run.write(record("lamp2", "instruct", told, seed=seed).model_copy(update={"parse_failures": 0.4}), told)
    assert '40% of the answers could not be read as an answer, such as "1. comedy".' in answer(compare(run))


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


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00 s"), (0.434, "0.43 s"), (59.4, "59.4 s"), (60, "1 min"), (200, "3 min 20 s"), (3900, "1 h 5 min")],
)
def test_durations(value: float, text: str) -> None:
    assert formatting.seconds(value) == text


def test_numbers_in_words() -> None:
    assert [formatting.p_value(p) for p in (0.0001, 0.0123, 0.999)] == ["p < 0.001", "p = 0.012", "p = 1"]
    assert [formatting.listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c"),
    ]
    assert [formatting.memory(size) for size in (614.4, 1536, 2**29, 3 * 2**30)] == [
        *("614 B", "1.5 KiB", "512 MiB", "3.00 GiB"),
    ]
    assert formatting.share(None) == "–"
    assert formatting.markdown("llm_rec _x_ ## `c`") == "llm_rec \\_x\\_ \\#\\# \\`c\\`"


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
