"""What a run lost stands before its results: context, history, examples, users."""

from pathlib import Path

import pytest

from harness.api import Metric
from harness.reporting.comparison_report import to_markdown
from harness.reporting.comparison_tables import tables
from harness.reporting.conclusions import answer_in_words
from tests import fabricate
from tests.fabricate import compare, record, run_spec, samples, store


def run(root: Path, **changes: dict[str, object]):
    """instruct and dpo on lamp2, their records changed as asked; dpo answers as `quality` says."""
    filled = store(root, run_spec("instruct,dpo"))
    for label in ("instruct", "dpo"):
        frame = samples("lamp2", 0.5)
        whole = {"queries": len(frame), "users": 40, "users_served": 40} | changes.get(label, {})
        filled.write(record("lamp2", label, frame).model_copy(update=whole), frame)
    return compare(filled)


def test_questions_that_never_reached_the_model_come_first(tmp_path):
    lost = {"unanswerable": 30, "prompts_shortened": 70, "prompts_emptied": 40}
    found = run(tmp_path, instruct=lost, dpo=lost)
    said = answer_in_words(found)
    assert said[1].startswith("lamp2: 30 of 80 questions never reached the model: they are too long for its context")
    assert "no room for the whole history in 70 of 80 prompts; 40 questions were asked without any of it." in said[1]
    assert said[2].startswith("lamp2, 40 users, ")
    assert to_markdown(found).index("never reached the model") < to_markdown(found).index("by accuracy")


def test_what_only_one_method_lost_is_said_of_that_method(tmp_path):
    said = answer_in_words(run(tmp_path, dpo={"prompts_shortened": 5}))
    assert "in 5 of 80 prompts under dpo." in said[1]


def test_unusable_history_is_counted(tmp_path):
    lost = {"items_found": 72, "items_skipped": 72}
    said = answer_in_words(run(tmp_path, instruct=lost, dpo=lost))
    assert said[1].startswith("lamp2: 72 of 72 history items in the data could not be used and were skipped")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples_used": 0}, "dpo found nothing to learn from, served no user and answered exactly as instruct."),
        (
            {"samples_used": 0, "counts": {"examples_too_long": 24}},
            "dpo learned from nothing (24 examples too long for the context), served no user",
        ),
        (
            {"samples_used": 0, "counts": {"identical_outputs": 2}},
            "dpo learned from nothing (2 pairs of equal answers), served no user",
        ),
        (
            {"samples_used": 0, "status": "budget_exhausted"},
            "dpo had too little time to learn anything, served no user",
        ),
        ({}, "dpo served no user and answered exactly as instruct."),
    ],
)
def test_a_fit_that_came_to_nothing_is_not_plainly_complete(tmp_path, change, words):
    found = run(tmp_path, dpo={"users_served": 0} | change)
    assert words in answer_in_words(found)[1]
    quality = tables(found, "lamp2")[0]
    assert quality.rows[1][-1].endswith(", served no user")
    assert quality.rows[0][-1] == "complete"


def test_a_model_without_finite_numbers_is_said_before_what_its_answers_score(tmp_path):
    found = run(tmp_path, dpo={"counts": {"not_finite": 80}})
    assert "not finite (NaN or infinite) for 80 of 80 questions under dpo, as after" in answer_in_words(found)[1]
    assert [row[-1] for row in tables(found, "lamp2")[0].rows] == ["complete", "complete, numbers not finite"]


def test_questions_that_were_never_asked_are_not_called_unreadable(tmp_path):
    lost = {"unanswerable": 40, "parse_failures": 0.55}
    assert not any(
        "could not be read" in line for line in answer_in_words(run(tmp_path / "a", instruct=lost, dpo=lost))
    )
    some = {"unanswerable": 40, "parse_failures": 0.75}
    said = " ".join(answer_in_words(run(tmp_path / "b", instruct=some, dpo=some)))
    assert "could not be read as one of the task's: 25% under instruct and dpo." in said


def test_users_whom_a_fit_does_not_serve_are_counted(tmp_path):
    assert (
        "dpo served 3 of 40 users; the others got the plain prompt"
        in answer_in_words(run(tmp_path, dpo={"users_served": 3}))[1]
    )


def test_served_users_who_get_nothing_of_their_own_are_counted(tmp_path):
    told = answer_in_words(run(tmp_path, dpo={"users_served": 40, "users_known": 3}, instruct={"users_known": 40}))[1]
    assert "dpo had something of their own for 3 of 40 users; the others got what all share." in told
    assert "instruct had" not in told


def test_users_whom_only_some_fits_serve_are_counted_over_fits(tmp_path):
    filled = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1)))
    for label in ("instruct", "dpo"):
        for seed, served in ((0, 40), (1, 0)):
            frame = samples("lamp2", 0.5)
            one = record("lamp2", label, frame, seed=seed)
            filled.write(one.model_copy(update={"users": 40, "users_served": served}), frame)
    assert "dpo served 20 of 40 users on average over 2 fits; the others" in answer_in_words(compare(filled))[1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [("comedy", '"comedy"'), ("", "nothing"), ("*" * 60, f'"{"*" * 40}..."')],
)
def test_a_method_that_answers_every_question_alike_is_found_out(tmp_path, answer, told):
    filled = store(tmp_path, run_spec("instruct,dpo,constant"))
    for label in ("instruct", "dpo", "constant"):
        frame = samples("lamp2", 0.5)
        if label != "instruct":
            frame["prediction"] = answer
        filled.write(record("lamp2", label, frame).model_copy(update={"users": 40, "users_served": 40}), frame)
    found = compare(filled)
    assert {row.label: row.sole_answer for row in found.pooled} == {"instruct": None, "dpo": answer, "constant": answer}
    said = answer_in_words(found)[1]
    assert f"dpo answered every question with {told}, whoever asked." in said.replace("\\", "")
    assert "constant" not in said  # a control is meant to


def test_a_run_that_lost_nothing_says_nothing(tmp_path):
    assert answer_in_words(run(tmp_path))[1].startswith("lamp2, 40 users, ")


def test_equal_answers_are_equal_whoever_was_faster_and_instruct_comes_first(tmp_path):
    filled = store(tmp_path, run_spec("instruct,dpo,aloe"))
    frame = samples("lamp2", 0.5)
    for label, seconds in (("instruct", 1.0), ("dpo", 0.0), ("aloe", 0.5)):
        filled.write(record("lamp2", label, frame, fit_seconds=seconds), frame)
    found = compare(filled)
    assert {(ranking.best, *ranking.tied) for ranking in found.rankings} == {("instruct", "dpo", "aloe")}
    assert "no method scores better than instruct" in answer_in_words(found)[-1]
    assert "0.000 better" not in answer_in_words(found)[-1]


def test_among_other_equals_the_name_decides(tmp_path):
    filled = store(tmp_path, run_spec("instruct,dpo,aloe"))
    for label, quality, seconds in (("instruct", 0.3, 0.0), ("dpo", 0.9, 0.0), ("aloe", 0.9, 5.0)):
        frame = samples("lamp2", quality)
        filled.write(record("lamp2", label, frame, fit_seconds=seconds), frame)
    assert compare(filled).rankings[0].best == "aloe"


def test_ties_for_want_of_users_are_said_to_be_that(tmp_path):
    qualities = {"instruct": 0.1, **{f"chameleon:num_layers={n}": 0.95 if n == 1 else 0.1 for n in range(1, 5)}}
    found = compare(fabricate.filled(tmp_path, qualities, users=7))
    said = " ".join(answer_in_words(found))
    assert "Too few users decide between chameleon:num_layers=1 and" in said
    assert "allow no p below 0.0" in said


def test_golds_with_which_every_answer_scores_the_same_are_noted(tmp_path, monkeypatch):
    accuracy = fabricate.ACCURACY
    blind = Metric("accuracy", True, accuracy.statistics, accuracy.value, can_score=lambda gold: gold != "comedy")
    monkeypatch.setitem(fabricate.METRICS, "lamp2", (blind, fabricate.F1))
    count = int((samples("lamp2", 0.5)["gold"] == "comedy").sum())
    notes = run(tmp_path).notes
    assert [note for note in notes if note.startswith(f"lamp2: {count} of 80 gold answers have nothing that accuracy")]
