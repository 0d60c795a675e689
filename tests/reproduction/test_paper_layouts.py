"""Tables and figures are the paper's, with what it reports marked as such beside what was measured."""

import csv

import pytest

from harness.api import HarnessError
from harness.reproduction.experiment_spec import common, experiments
from harness.reproduction.experiments import assemble, read_docs, read_results, write, write_docs
from harness.reproduction.page import joined, page
from harness.reproduction.paper_figures import draw
from harness.reproduction.paper_layouts import main_table
from harness.reproduction.reported import reported
from harness.reproduction.result import Reproduction
from tests.reproduction.made_up import experiment, point

EVERYONE = {"instruct": 0.3, "llm_rec": 0.4, "aloe": 0.5, "dpo": 0.5, "chameleon": 0.9}


@pytest.fixture(scope="module")
def table1(tmp_path_factory):
    run = point(tmp_path_factory.mktemp("table1") / "run", EVERYONE, ("lamp2", "lamp3"), served=12)
    return assemble(experiment("table1"), [run], "tiny")


@pytest.fixture(scope="module")
def figure4(tmp_path_factory):
    root = tmp_path_factory.mktemp("figure4")
    points = [point(root / budget, EVERYONE, served=12, budget=budget) for budget in ("10s", "20s")]
    return assemble(experiment("figure4"), points, "tiny")


def test_table_1_has_the_paper_s_rows_and_columns_and_its_numbers_marked_reported(table1):
    table = main_table(table1, common().names)
    assert table.columns == ["Dataset", "Metric", "", "Instruct Model", "LLM-REC", "ALOE", "CHAMELEON", "DPO (added)"]
    assert [row[:2] for row in table.rows[::2]] == [
        *(["LaMP2", "Acc. ↑"], ["LaMP2", "F-1 ↑"], ["LaMP3", "MAE ↓"], ["LaMP3", "RMSE ↓"])
    ]
    assert all(row[2] == "reported, mistral-7b-instruct-v0.3" for row in table.rows[1::2])
    assert [row[3:] for row in table.rows[1::2]] == [
        ["0.198", "0.262", "0.307", "0.396", "–"],
        ["0.236", "0.309", "0.220", "0.349", "–"],
        ["0.497", "0.484", "0.423", "0.407", "–"],
        ["0.944", "0.976", "0.888", "0.815", "–"],
    ]


def test_measured_cells_have_intervals_and_the_best_is_bold(table1):
    table = main_table(table1, common().names)
    assert (0, 6) in table.bold
    assert all("[" in cell for row in table.rows[::2] for cell in row[3:])
    assert all(place % 2 == 0 for place, _ in table.bold)


@pytest.mark.parametrize(("status", "shown"), [("complete", "–"), ("budget_exhausted", "–"), ("failed", "failed")])
def test_a_method_without_a_number_says_only_what_went_wrong(table1, status, shown):
    told = table1.model_copy(deep=True)
    told.rows[1] = told.rows[1].model_copy(update={"value": None, "status": status})
    assert main_table(told, common().names).rows[0][4] == shown


def test_two_models_stand_side_by_side_each_above_its_own_reported_numbers(table1):
    other = table1.model_copy(deep=True)
    rows = [row.model_copy(update={"model": "tiny-t5"}) for row in other.rows]
    for row in rows:
        label = row.label
        row.reported = reported().value("table1", row.task, row.metric, "flan-t5-xxl", label)
    both = table1.model_copy(
        update={"rows": [*table1.rows, *rows], "models": {**table1.models, "tiny-t5": "flan-t5-xxl"}}
    )
    table = main_table(both, common().names)
    assert table.columns[3] == "Instruct Model, tiny-llama"
    assert table.columns[8] == "Instruct Model, tiny-t5"
    assert table.rows[1][3:] == ["0.198", "0.262", "0.307", "0.396", "–", "0.238", "0.214", "0.333", "0.420", "–"]


def test_the_both_column_of_table_3_is_the_plain_method(tmp_path):
    labels = ("instruct", "chameleon:edit=personalized", "chameleon:edit=neutral", "chameleon")
    run = point(tmp_path, dict.fromkeys(labels, 0.5), ("lamp2", "lamp3"))
    table = main_table(assemble(experiment("table3"), [run], "tiny"), common().names)
    assert table.columns[3:6] == ["Only personalized", "Only Non-personalized", "Both"]
    assert table.rows[1][3:] == ["0.356", "0.346", "0.396", "–"]


def test_figure_4_shows_improvement_over_instruct_by_time(figure4):
    table = main_table(figure4, common().names)
    assert [row[1:3] for row in table.rows] == [
        [budget, method] for budget in ("10s", "20s") for method in ("CHAMELEON", "DPO", "ALOE")
    ]
    values = {(row.tick, row.label, row.metric): row for row in figure4.rows}
    row = values["10s", "chameleon", "accuracy"]
    low, high = row.improvement_interval
    assert low < row.improvement < high
    assert row.improvement > 0.3
    assert all(row.reported is None for row in figure4.rows)


def test_a_result_says_where_a_fit_did_not_serve_everybody(table1, figure4):
    users = next(row.users for row in table1.rows)
    rest = "whom it did not serve is answered as by instruct."
    assert f"chameleon on lamp2 served 12 of its {users} users; {rest}" in table1.notes
    assert any(note.startswith("chameleon at 10s on lamp2 served 12 of its") for note in figure4.notes)
    assert not any(note.startswith("instruct") and " served " in note for note in figure4.notes)


def test_improvement_is_positive_for_a_smaller_error(table1):
    found = {(row.label, row.metric): row for row in table1.rows}
    row, base = found["chameleon", "mae"], found["instruct", "mae"]
    assert row.value < base.value
    assert row.improvement == pytest.approx(base.value - row.value)
    assert base.improvement is None


def test_pages_say_what_the_model_is_and_escape_foreign_text(table1, figure4):
    noted = table1.model_copy(update={"notes": ["<script>alert(1)</script>"]})
    text = joined([noted, figure4], common(), reported(), "{name}.png")
    assert "no evidence about real language models" in text
    assert "<script>" not in text
    assert "The paper prints no numbers for it" in page(figure4, common(), reported(), "figure4.png")
    assert "Known deviations" in text
    assert all(claim.quote[:30] in text for claim in [*table1.claims, *figure4.claims])


def test_what_is_written_can_be_read_back_and_written_again_alike(table1, figure4, tmp_path):
    for result in (table1, figure4):
        write(result, tmp_path / "out")
        text = (tmp_path / "out" / f"{result.name}.json").read_text(encoding="utf-8")
        again = Reproduction.model_validate_json(text)
        write(again, tmp_path / "again")
        for suffix in ("json", "md", "csv"):
            name = f"{result.name}.{suffix}"
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        with open(tmp_path / "out" / f"{result.name}.csv", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(result.rows)
        assert (tmp_path / "out" / f"{result.name}.png").stat().st_size > 10_000


def test_documents_point_to_plots_that_are_there(table1, figure4, tmp_path):
    path = write_docs([table1, figure4], tmp_path)
    for name in ("table1-lamp2-lamp3", "figure4"):
        assert f"(reproduction/{name}.png)" in path.read_text(encoding="utf-8")
        assert {p.suffix for p in (tmp_path / "reproduction").glob(f"{name}.*")} == {".png", ".csv", ".json"}


def test_runs_on_other_tasks_stand_beside_each_other_until_one_run_has_all_of_them(table1, tmp_path):
    def on(*tasks):
        rows = [row for row in table1.rows if row.task in tasks]
        settings = table1.settings | {"tasks": list(tasks)}
        return table1.model_copy(update={"rows": rows, "settings": settings, "scope": " and ".join(tasks)})

    for task in ("lamp2", "lamp3"):
        path = write_docs([on(task)], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "## Table 1: users with history, lamp2" in text
    assert "(reproduction/table1-lamp3.png)" in text
    assert [result.slug for result in read_docs(tmp_path / "reproduction")] == ["table1-lamp2", "table1-lamp3"]
    write_docs([on("lamp2", "lamp3")], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.count("## Table 1: users with history") == 1
    assert "lamp2 and lamp3" in text


@pytest.mark.parametrize(
    "other", [{"settings": {"users": 2}}, {"settings": {"seeds": [7]}}, {"models": {"tiny-llama": "", "another": ""}}]
)
def test_a_run_with_more_tasks_on_others_or_fewer_users_hides_nothing(table1, tmp_path, other):
    part = [row for row in table1.rows if row.task == "lamp2"]
    settings = table1.settings | {"tasks": ["lamp2"]}
    few = table1.model_copy(update={"rows": part, "settings": settings, "scope": "LaMP2"})
    changed = other | ({"settings": table1.settings | other["settings"]} if "settings" in other else {})
    write_docs([few, table1.model_copy(update=changed)], tmp_path)
    assert {result.slug for result in read_docs(tmp_path / "reproduction")} == {"table1-lamp2", table1.slug}


def test_commands_name_all_only_where_one_made_every_experiment(table1):
    known = [spec.name for spec in experiments("all")]
    every = [table1.model_copy(update={"name": name, "departures": {}}) for name in known]
    assert "Made by `harness reproduce all --preset tiny` on" in joined(every, common(), reported(), "")
    every[3] = every[3].model_copy(update={"departures": {"users": 7}})
    text = joined(every, common(), reported(), "")
    assert "reproduce all" not in text
    assert f"`harness reproduce {known[3]} --preset tiny --users 7`" in text


def test_the_joined_page_holds_the_results_of_earlier_calls_and_the_calls_that_made_them(table1, figure4, tmp_path):
    write(figure4, tmp_path / "figure4")
    departures = table1.departures | {"set": ["aloe.training=lora"]}
    update = {"models": {"tiny-llama": "", "tiny-t5": ""}, "departures": departures}
    write(table1.model_copy(update=update), tmp_path / "table1")
    results = read_results(tmp_path)
    assert [result.name for result in results] == ["table1", "figure4"]
    text = joined(results, common(), reported(), "{name}.png")
    assert "`harness reproduce figure4 --preset tiny --users 200`" in text  # the preset has 300
    assert (
        "`harness reproduce table1 --preset tiny --tasks lamp2,lamp3 --budget 60 --set aloe.training=lora --models "
        "tiny-llama,tiny-t5`"
    ) in text


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_a_figure_shows_as_many_panels_as_there_are_metrics_and_no_empty_one(figure4, panels):
    rows = [row.model_copy(update={"metric": f"metric {n}"}) for n in range(panels) for row in figure4.rows[:4]]
    figure = draw(figure4.model_copy(update={"rows": rows}), common().names)
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == [
        f"LaMP2 metric {n}" for n in range(panels)
    ]


@pytest.mark.parametrize("kind", ["lines", "columns"])
@pytest.mark.parametrize("ticks", [["10", "20"], ["pca", "bm25"]])
def test_a_figure_has_a_place_for_any_tick_and_a_style_for_any_number_of_methods(figure4, kind, ticks):
    column = figure4.layout.methods[0]
    columns = tuple(column.model_copy(update={"method": f"m{n}", "title": f"M{n}"}) for n in range(7))
    layout = figure4.layout.model_copy(update={"kind": kind, "columns": columns, "lines": columns})
    rows = [
        figure4.rows[0].model_copy(update={"label": f"m{n}", "tick": tick, "value": 0.5, "improvement": 0.1})
        for n in range(7)
        for tick in ticks
    ]
    [axes] = [
        axes
        for axes in draw(figure4.model_copy(update={"rows": rows, "layout": layout}), common().names).axes
        if axes.get_visible()
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ticks
    if kind == "lines":
        assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 7
    else:
        assert len(axes.patches) == 14


@pytest.mark.parametrize(("text", "fault"), [("{", "JSON"), ('{"name": "table1"}', "title"), ("\udcff", "utf-8")])
def test_a_damaged_record_among_documents_is_named_with_its_fault(tmp_path, text, fault):
    path = tmp_path / "table1.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HarnessError, match=rf"table1.json holds no result of an experiment: .*{fault}"):
        read_docs(tmp_path)
