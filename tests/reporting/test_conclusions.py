"""The answer in words: who is best, by how much, for whom, and what nobody can tell."""

from __future__ import annotations

from pathlib import Path

from harness.reporting.comparison_report import to_markdown
from harness.reporting.conclusions import answer_in_words
from tests.fabricate import CLEAR, answer, compare, filled, pair_of, record, run_spec, samples, store


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


def test_of_a_small_model_that_says_so_its_size_stands_before_the_results(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, CLEAR))
    small = comparison.model_copy(update={"spec": comparison.spec.model_copy(update={"model": "smollm2-135m"})})
    assert answer_in_words(small)[0].startswith("SmolLM2-135M-Instruct is small: 135M parameters")


def test_a_null_says_what_would_have_gone_unnoticed_and_how_many_users_would_tell(tmp_path: Path) -> None:
    text = answer(compare(filled(tmp_path, {"instruct": 0.5, "dpo": 0.55})))
    assert "no method is better than instruct beyond chance. dpo scores best, 0." in text
    assert "; if that is the true gain, about 3,972 users would show it)." in text
    assert "With 40 users, a difference from instruct below about 0." in text
    assert "may well have gone unnoticed" in text
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
    assert "could not be read as one of the task's: 40% under aloe." in text


def test_of_answers_that_are_none_to_the_task_the_commonest_of_all_seeds_is_shown(tmp_path: Path) -> None:
    run, frame = store(tmp_path, run_spec("instruct", seeds=(0, 1))), samples("lamp2", 0.5)
    for seed, texts in ((0, ["", "", "", "1. comedy", "It is sad"]), (1, ["1. comedy", "Funny", "Fun"])):
        told = frame.assign(
            prediction=[*texts, *frame["prediction"][len(texts) :]],
            parsed=[False] * len(texts) + [True] * (len(frame) - len(texts)),
        )
        run.write(record("lamp2", "instruct", told, seed=seed).model_copy(update={"parse_failures": 0.4}), told)
    said = 'Answers on lamp2 that could not be read as one of the task\'s, such as "1. comedy": 40% under instruct.'
    assert said in answer(compare(run))


def test_of_answers_that_could_not_be_read_one_line_tells_all_methods_and_the_task_what_it_makes_of_scores(
    tmp_path: Path,
) -> None:
    lost = {"instruct": 0.94, "dpo": 1.0, "aloe": 0.94, "rag": 0.05, "constant": 0.0, "shuffled_prompt": 0.7}
    run = store(tmp_path, run_spec(",".join(lost)))
    for label, unread in lost.items():
        frame = samples("lamp2", 0.5)
        run.write(record("lamp2", label, frame).model_copy(update={"parse_failures": unread}), frame)
    lines = answer_in_words(compare(run))
    said = "94% of the answers of instruct could not be read and score as the worst: what makes them readable gains"
    (task,) = [line for line in lines if line.startswith("lamp2, 40 users")]
    assert said in task
    assert "\n".join(lines).count(said) == 1
    (told,) = [line for line in lines if "as one of the task's" in line]
    assert told.endswith(": 100% under dpo; 94% under instruct and aloe; controls: 70% under shuffled_prompt.")


def test_where_instruct_can_be_read_the_task_says_nothing_of_it(tmp_path: Path) -> None:
    assert "score as the worst" not in answer(compare(filled(tmp_path, CLEAR)))


def test_of_many_that_tie_the_five_best_are_named_controls_apart_and_the_rest_counted(tmp_path: Path) -> None:
    layers = {f"chameleon:num_layers={n}": 0.9 for n in range(1, 8)}
    qualities = {"instruct": 0.1, "dpo": 0.95, **layers, "shuffled_prompt": 0.9, "constant": 0.05}
    found = compare(filled(tmp_path, qualities))
    assert set(found.rankings[0].tied) == {*layers, "shuffled_prompt"}
    scores = {row.label: row.metrics["accuracy"] for row in found.pooled}
    best = sorted(layers, key=scores.__getitem__, reverse=True)[:5]
    said = f"Not told apart from dpo: {', '.join(best)} and 2 more, and the control shuffled_prompt."
    assert said in answer(found)


def test_where_none_of_many_is_told_from_the_best_they_are_only_counted(tmp_path: Path) -> None:
    layers = {f"chameleon:num_layers={n}": 0.3 + n / 10 for n in range(1, 7)}
    text = answer(compare(filled(tmp_path, {"instruct": 0.1, **layers, "dpo": 0.95}, users=4)))
    assert "None of the 7 others that rank is told apart from dpo." in text
    assert "Too few users decide between dpo and 7 of these: as many as scored differently allow no p below" in text


def test_an_overrun_method_that_is_better_is_not_passed_over(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, {"instruct": 0.2, "dpo": 0.9, "aloe": 0.2}), samples("lamp2", 0.9, seed=1)
    assert "kept its budget" not in answer(compare(run))
    run.write(record("lamp2", "dpo", frame, status="overran", fit_seconds=63.5), frame)
    text = answer(compare(run))
    assert "no method is better" not in text
    assert "no method scores better" not in text
    assert "no method that kept its budget " in text
    assert "Scoring better than instruct, but not ranked as the fit overran its budget: dpo (by 0." in text
    assert "p < 0.001)." in text
