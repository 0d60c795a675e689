"""The page of a real model: its setting, the answer it begins with, the table to choose by and its plot."""

import re

import pytest

from harness.reporting.canvas import GREY
from harness.reproduction.answer import answer
from harness.reproduction.experiment_spec import common
from harness.reproduction.experiments import assemble
from harness.reproduction.glance import glance
from harness.reproduction.page import joined, setting
from harness.reproduction.paper_figures import draw
from harness.reproduction.reported import reported
from tests.reproduction.made_up import experiment, point

METHODS = {
    "instruct": 0.3,
    "chameleon": 0.3,
    "rag": 0.95,
    "constant": 0.31,
    "random_direction": 0.32,
    "shuffled_rag": 0.33,
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Table 1 of made-up answers, as if SmolLM2 had given them."""
    found = point(tmp_path_factory.mktemp("real"), METHODS, ("lamp2", "lamp3"))
    spec = experiment("table1").model_copy(update={"left_out": {"lamp7": "the data have no such task"}})
    made = assemble(spec, [found], "small")
    machine = {"processor": "EPYC", "torch_threads": 2}
    update = {"models": {"smollm2-135m": ""}, "provenance": {"hardware": machine}}
    return made.model_copy(update=update, deep=True)


@pytest.mark.parametrize(
    ("hardware", "said"),
    [
        ({"processor": "EPYC", "torch_threads": 1}, "1 thread of EPYC"),
        ({"processor": "EPYC", "torch_threads": 4, "accelerator": "A100"}, "A100"),
        ({}, "an unknown machine"),
    ],
)
def test_a_setting_says_on_what_its_seconds_were_spent(result, hardware, said):
    made = result.model_copy(update={"provenance": {"hardware": hardware}})
    assert made.machine == said
    assert f"on {said}." in setting(made)


def test_a_setting_says_in_what_the_preset_has_changed_since(result):
    same = result.model_copy(update={"configs": {"chameleon": {"layers": None, "of": "another version"}}})
    assert "earlier settings" not in setting(result) + setting(same)
    gone = result.model_copy(update={"settings": {**result.settings, "of_old": 1}})
    assert "It cannot be made with these settings today." in setting(gone)
    made = result.model_copy(update={"configs": {"chameleon": {"layers": [15]}}})
    assert "Made with earlier settings of the preset: chameleon.layers [15], now null." in setting(made)


def real(result):
    for row in result.rows:
        row.model = "smollm2-135m"
    for claim in result.claims:
        claim.model = "smollm2-135m"
    return result


def test_the_page_of_a_real_model_begins_with_the_answer(result):
    lines = answer([real(result)], common().names)
    assert lines[0] == (
        "smollm2-135m with the first 60 users of synthetic, 10 history items, 1 min per fit on 2 threads of EPYC, "
        "seed 0; without LaMP7, which these data lack."
    )
    assert lines[2].startswith("LaMP2, 60 users, 120 questions, by Acc. (higher is better): rag is best")
    assert "better than instruct, p = " in lines[2]
    assert "Worse than instruct" not in lines[2]
    best = next(row for row in result.rows if row.best)
    told = [(found.users, found.vs_instruct) for found in best.by_history if found.users >= 5]
    assert lines[4].startswith("rag on LaMP2 took ")
    assert re.findall(r"([+-]\d\.\d+) for the (\d+) with", lines[4]) == [(f"{gain:+.3f}", str(n)) for n, gain in told]
    assert lines[1] == (
        "By score, in one fit of each (another may come out otherwise), better beyond chance than instruct, constant "
        "and its own controls: rag on lamp2 and rag on lamp3."
    )
    page = joined([result], common(), reported(), "{name}.png")
    title, opening, answered, meaning = page.split("\n\n")[:4]
    assert title == "# The paper's experiments on smollm2-135m"
    assert opening.startswith("Which method of personalization helps smollm2-135m")
    assert "SmolLM2-135M-Instruct is small: 135M parameters" in opening
    assert answered.startswith("- smollm2-135m with the first")
    assert meaning.startswith("instruct is the model as it is, with its values")
    assert (
        "Controls of chameleon: random_direction. Controls of rag: shuffled_rag. constant: The most frequent answer"
        in meaning
    )
    assert "Verdicts on the paper's claims: " in page
    assert "lamp7 is left out: the data have no such task." in page
    assert "(without LaMP7)" in page
    assert "Not made here: Table 2" in page


def test_a_preface_stands_before_the_tables_of_a_real_model(result):
    told, untold = (joined([real(result)], common(), reported(), "", text) for text in ("**One fit each.**\n", ""))
    assert told.split("\n\n")[2] == "**One fit each.**"
    assert told.replace("**One fit each.**\n\n", "", 1) == untold


def test_answers_that_could_not_be_read_are_told_beside_what_they_make_of_scores(result):
    lost = {"instruct": 0.4, "rag": 0.0}
    rows = [row.model_copy(update={"parse_failures": lost.get(row.label, 0.9)}) for row in real(result).rows]
    told = result.model_copy(update={"rows": rows})
    said = "40% of the answers of instruct could not be read and score as the worst"
    assert said in answer([told], common().names)[2]
    assert said not in answer([real(result)], common().names)[2]
    table = glance(told, "lamp2", common().names)
    place = table.columns.index("unread answers ↓")
    assert {row[0]: row[place] for row in table.rows[:3]} == {"instruct": "40%", "rag": "0%", "chameleon": "90%"}
    assert "unread answers ↓" not in glance(result, "lamp2", common().names).columns
    assert "Unread answers are none to the task" in joined([told], common(), reported(), "")


def test_the_answer_on_new_users_says_that_others_were_fitted_on(result):
    settings = result.settings | {"regime": "unseen", "eval_history": "none"}
    line = answer([real(result).model_copy(update={"settings": settings})], common().names)[0]
    assert "users of synthetic, no history in the prompt, fitted on other users, 1 min per fit" in line


def test_of_a_second_table_the_answer_tells_who_scored_best(result):
    first, second = real(result), real(result).model_copy(update={"title": "Table 2: new, unseen users"})
    alone, both = (answer(tables, common().names) for tables in ([first], [first, second]))
    told = [line for line in both if line.startswith("Table 2: new, unseen users. ")]
    assert [line.removeprefix("Table 2: new, unseen users. ") for line in told] == alone[2 : 2 + len(told)]
    assert told[0].startswith("Table 2: new, unseen users. LaMP2, 60 users, 120 questions, by Acc.")


def test_the_task_that_most_users_answered_for_comes_first(result):
    def of(scope, *users):
        rows = [row for row in real(result).rows if row.task == scope.lower()]
        return [
            result.model_copy(
                update={"scope": scope, "rows": [row.model_copy(update={"users": count}) for row in rows]}
            )
            for count in users
        ]

    def order(*tables):
        page = joined([table for own in tables for table in own], common(), reported(), "{slug}.png")
        return re.findall("^## (LaMP.)$", page, re.MULTILINE)

    assert order(of("LaMP3", 50), of("LaMP2", 60)) == ["LaMP2", "LaMP3"]
    assert order(of("LaMP3", 60), of("LaMP2", 60)) == ["LaMP3", "LaMP2"]
    assert order(of("LaMP3", 60, 20), of("LaMP2", 60, 90)) == ["LaMP2", "LaMP3"]


def test_the_answer_is_about_methods_and_names_the_controls_that_score_higher(result):
    told = real(result).model_copy(deep=True)
    rows = [row for row in told.rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    for row in rows:
        row.best = row.label == "random_direction"
        row.value = 0.99 if row.best else row.value
    line = answer([told], common().names)[2]
    assert "rag is best" in line
    assert line.endswith(" Above every method stands the control random_direction (0.990).")


def told_by_likelihood(result, seeds, *tests):
    """What the answer says by the likelihood of gold answers, with these (a, b, p)."""
    made = result.tests[0].model_copy(update={"task": "lamp2", "metric": "gold_nats", "difference": 0.1})
    found = [made.model_copy(update={"a": a, "b": b, "p_holm": p}) for a, b, p in tests]
    settings = result.settings | {"seeds": seeds}
    told = real(result).model_copy(update={"tests": [*result.tests, *found], "settings": settings})
    [line] = [line for line in answer([told], common().names) if "likelihood of the users' own answers" in line]
    return line


def test_a_method_personalizes_if_it_beats_instruct_and_its_own_controls_and_those_of_others_do_not_count(result):
    beaten = ("chameleon", "instruct", 0.01), ("chameleon", "random_direction", 0.01)
    others = ("aloe", "instruct", 0.01), ("aloe", "shuffled_aloe", 0.01), ("aloe", "random_direction", 0.5)
    said = "by the likelihood of the users' own answers, better beyond chance than instruct and its own controls:"
    line = told_by_likelihood(result, [0, 1], *beaten, *others)
    absent = "On lamp2 chameleon was not held against its controls mean_difference and shuffled_history."
    assert line == f"Shown to personalize {said} chameleon on lamp2 and aloe on lamp2. {absent}"
    line = told_by_likelihood(result, [0, 1], beaten[0], ("chameleon", "random_direction", 0.5), *others)
    assert line == f"Shown to personalize {said} aloe on lamp2."


def test_what_has_no_control_is_not_judged_and_one_fit_shows_no_more_than_that(result):
    rivals = [("chameleon", "random_direction", 0.5), ("reminder", "random_direction", 0.01)]
    tests = [(method, "instruct", 0.01) for method in ("chameleon", "reminder", "oppu")]
    line = told_by_likelihood(result, [0], *tests, *rivals)
    assert line.startswith(
        "By the likelihood of the users' own answers, in one fit of each (another may come out otherwise)"
    )
    unjudged = "Not judged, as no control of theirs was run here: oppu on lamp2."
    assert line.endswith(f": no method. {unjudged} Not judged, as no control of theirs exists: reminder on lamp2.")


def test_the_answer_says_how_many_users_would_tell_a_method_from_instruct_and_which_way(result):
    told = real(result)
    tests = [test for test in told.tests if (test.task, test.metric, test.b) == ("lamp2", "accuracy", "instruct")]
    [open_one] = [test for test in tests if test.a == "chameleon"]
    update = {"p_holm": 0.5, "difference": -0.02, "minimum_detectable": 0.04}
    rest = [test for test in told.tests if test is not open_one]
    lines = answer([told.model_copy(update={"tests": [*rest, open_one.model_copy(update=update)]})], common().names)
    said = "Users that would tell a method on LaMP2 from instruct, if the difference measured by Acc. is the true one"
    assert f"{said} (60 here): as worse chameleon 240." in lines


def test_whoever_answers_every_question_alike_is_named_where_methods_are_chosen(result):
    rows = [row.model_copy(update={"sole_answer": "5" if row.label == "rag" else None}) for row in real(result).rows]
    told = result.model_copy(update={"rows": rows})
    assert ' rag answers every question with "5".' in answer([told], common().names)[2]
    assert glance(told, "lamp2", common().names).rows[1][0] == 'rag, always "5"'


def test_the_answer_says_how_much_the_best_copies_where_that_was_measured(result):
    rows = [row for row in result.rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    shares = {"rag": 0.75, "instruct": 0.5}
    copied = [
        row.model_copy(update={"metric": "copied", "value": shares[row.label]}) for row in rows if row.label in shares
    ]
    line = answer([real(result).model_copy(update={"rows": [*rows, *copied]})], common().names)[2]
    assert "75% of its words stand in the question, 50% of those of instruct." in line
    assert "stand in the question" not in answer([real(result)], common().names)[2]


def test_with_a_single_task_the_answer_does_not_repeat_its_name(result):
    of_lamp2 = {
        "rows": [row for row in result.rows if row.task == "lamp2"],
        "tests": [test for test in result.tests if test.task == "lamp2"],
    }
    lines = answer([real(result).model_copy(update=of_lamp2)], common().names)
    assert any(line.endswith("its own controls: rag.") for line in lines)
    assert any(line.startswith("rag took ") for line in lines)


def test_at_a_glance_each_method_stands_beside_instruct_and_what_is_beyond_chance_is_bold(result):
    kept = {"instruct": 0, "rag": None, "chameleon": 2048}  # None: of an earlier version
    rows = [
        row.model_copy(update={"fit_bytes": kept.get(row.label, row.fit_bytes)})
        for row in real(result).rows
        if (row.task, row.metric) == ("lamp2", "accuracy")
    ]
    nats = {"instruct": -3.0, "rag": -2.5, "chameleon": -3.001}
    beside = [
        row.model_copy(update={"metric": "gold_nats", "value": nats[row.label]}) for row in rows if row.label in nats
    ]
    test = next(test for test in result.tests if (test.task, test.b) == ("lamp2", "instruct"))
    told = [
        test.model_copy(update={"metric": "gold_nats", "a": a, "difference": nats[a] + 3, "p_holm": p})
        for a, p in (("rag", 0.001), ("chameleon", 0.4))
    ]
    made = result.model_copy(update={"rows": [*rows, *beside], "tests": [*result.tests, *told]})
    table = glance(made, "lamp2", common().names)
    assert table.columns[:3] == ["method", "Acc. ↑", "gold log p ↑"]
    by_method = {row[0]: row for row in table.rows}
    assert list(by_method)[:3] == ["instruct", "rag", "chameleon"]
    assert set(list(by_method)[3:]) == {"control: constant", "control: random_direction", "control: shuffled_rag"}
    assert by_method["instruct"][2] == "-3.000"
    assert by_method["rag"][2] == "+0.500"
    assert by_method["control: random_direction"][2] == "–"
    value = {row.label: row.value for row in rows}
    assert re.fullmatch(rf"\+{value['rag'] - value['instruct']:.3f} \[\d\.\d+, \d\.\d+\]", by_method["rag"][1])
    assert table.columns[-1] == "stored"
    assert [by_method[method][-1] for method in kept] == ["0 B", "", "2 KiB"]
    assert (1, 2) in table.bold
    assert (2, 2) not in table.bold
    page = joined([made], common(), reported(), "")
    assert "| rag | **" in page


def test_the_plot_of_a_table_shows_improvements_of_what_is_measured_beside_scores(result):
    rows = [row for row in real(result).rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    beside = [row.model_copy(update={"metric": "gold_nats", "reported": None}) for row in rows]
    scores, nats = draw(result.model_copy(update={"rows": [*rows, *beside]}), common().names).axes
    shown = [sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o") for axes in (scores, nats)]
    assert shown[0] == sorted(row.value for row in rows)
    assert shown[1] == sorted(row.improvement for row in rows if row.label != "instruct")
    assert len(nats.get_yticks()) == len(shown[1])  # no line for a method without a number
    assert {line.get_color() for line in scores.lines if line.get_label().startswith("a control")} == {GREY}
    assert nats.get_xlabel() == "improvement over instruct: right is better"


def test_test_instruments_have_no_answer_to_give(tmp_path):
    found = point(tmp_path, METHODS)
    assert answer([assemble(experiment("table1"), [found], "tiny")], common().names) == []


def test_a_method_that_is_surely_better_is_named_though_another_scores_best(result):
    rows = [row for row in real(result).rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    test = next(t for t in result.tests if (t.task, t.metric, t.a, t.b) == ("lamp2", "accuracy", "rag", "instruct"))
    tests = [test.model_copy(update={"p_holm": 0.4}), test.model_copy(update={"a": "chameleon", "p_holm": 0.001})]
    line = answer([result.model_copy(update={"rows": rows, "tests": tests})], common().names)[1]
    assert "rag scores best" in line
    assert line.endswith("Better than instruct beyond chance: chameleon.")
    assert "no method is better" not in line


def test_an_overrun_method_that_is_better_is_named_as_that(result):
    rows = [row for row in real(result).rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    late = [
        row.model_copy(update={"value": 0.3} | ({"status": "overran"} if row.label == "rag" else {})) for row in rows
    ]
    line = answer([result.model_copy(update={"rows": late})], common().names)[2]
    assert "no method that kept its budget scores better than instruct" in line
    assert "Scoring better than instruct, but not ranked as the fit overran its budget: rag (by 0." in line
    assert "Better than instruct beyond chance" not in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 0.3}, "no method scores better than instruct"),  # equals: instruct stands for all
        ({"status": "overran"}, "chameleon"),
        ({"better_rate": None, "regret_rate": None}, "rag is best"),
    ],
)
def test_equal_late_and_incomplete_rows_are_no_winners(result, change, said):
    rows = [row for row in real(result).rows if (row.task, row.metric) == ("lamp2", "accuracy")]
    same = {
        "instruct": 0.3,
        "chameleon": 0.31 if "status" in change else 0.3,
        "rag": 0.95,
        "constant": 0.2,
        "random_direction": 0.2,
        "shuffled_rag": 0.2,
    }
    rows = [row.model_copy(update={"value": same[row.label]} | (change if row.label == "rag" else {})) for row in rows]
    lines = answer([result.model_copy(update={"rows": rows})], common().names)
    assert said in lines[2]
    assert not any("– of the users" in line for line in lines)


def test_nothing_is_said_of_controls_where_instruct_has_no_answers(result):
    tests = [test for test in result.tests if test.b != "instruct"]
    assert not any("every control" in line for line in answer([real(result).model_copy(update={"tests": tests})], {}))
