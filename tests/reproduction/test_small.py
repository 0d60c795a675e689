"""The preset `small`: what it runs where data lack tasks, how long it expects, and a part of it from run to page."""

import io
import json
import warnings

import pytest
from rich.console import Console

from harness.api import HarnessError
from harness.reproduction.experiment_spec import experiments
from harness.reproduction.forecast import Forecast, plans
from harness.reproduction.reproducing import choose, print_plan, run_reproduce
from tests.reproduction.made_up import experiment


@pytest.fixture
def lamp(tmp_path):
    """LaMP-3 with other users to fit on, LaMP-7 without, no LaMP-2."""
    for name in ("LaMP_3/train", "LaMP_3/dev", "LaMP_7/dev"):
        for part in ("questions", "outputs"):
            path = tmp_path / "lamp" / f"{name}_{part}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[]")
    return str(tmp_path / "lamp")


def printed(chosen, out):
    screen = io.StringIO()
    print_plan(chosen, "small", out, Console(file=screen, width=200))
    return " ".join(screen.getvalue().split())


def test_tasks_that_the_data_lack_are_left_out_of_every_experiment_and_the_dry_run_says_so(lamp, tmp_path):
    chosen = choose("all", "small", [], data=lamp)
    assert {task for _, points in chosen for one in points for task in one.spec.tasks} == {"lamp3", "lamp7"}
    left_out = {spec.name: list(spec.left_out) for spec, _ in chosen}
    assert left_out == {name: ["lamp2"] for name in ("table1", "table3", "figure3", "figure4", "figure5")} | {
        "table2": ["lamp2", "lamp7"]  # nobody to fit on but those who are evaluated
    }
    text = printed(chosen, tmp_path / "out")
    assert "table1 is without lamp2: the data have no such task." in text
    assert "table2 is without lamp7: it fits on other users than those evaluated" in text
    assert not (tmp_path / "out").exists()


def test_an_experiment_that_the_data_cannot_serve_is_left_out_of_all_and_refused_alone(lamp, tmp_path):
    (tmp_path / "lamp" / "LaMP_3" / "train_questions.json").unlink()
    with pytest.warns(UserWarning, match="Left out: Table 2"):
        chosen = choose("all", "small", [], data=lamp)
    assert [spec.name for spec, _ in chosen] == ["table1", "table3", "figure3", "figure4", "figure5"]
    with pytest.raises(HarnessError, match="only the split dev"):
        choose("table2", "small", [], data=lamp)


def test_a_folder_with_none_of_the_tasks_is_left_to_the_run_to_refuse(tmp_path):
    [(spec, points)] = choose("table1", "small", [], data=str(tmp_path / "none"))
    assert not spec.left_out
    assert points[0].spec.tasks == ("lamp2", "lamp3", "lamp7")


def test_a_given_budget_holds_for_all_but_the_figure_whose_axis_it_is(lamp):
    chosen = {spec.name: points for spec, points in choose("all", "small", [], data=lamp, budget=60.0, users=40)}
    assert {one.spec.budget for name, points in chosen.items() for one in points if name != "figure4"} == {60}
    assert [one.spec.budget for one in chosen["figure4"]] == [150, 300, 450, 600]
    assert {one.spec.users for points in chosen.values() for one in points} == {40}
    assert all(one.spec.likelihood for points in chosen.values() for one in points)


def test_what_a_call_asked_otherwise_than_the_preset_is_told(lamp):
    for name, given, told in (
        ("table1", {"budget": 60.0, "users": 40}, {"budget": 60, "users": 40}),
        ("figure4", {"budget": 60.0}, {}),
        ("figure5", {"seeds": (0, 1)}, {"seeds": (0, 1)}),
    ):
        [(spec, points)] = choose(name, "small", [], data=lamp, **given)
        assert spec.departures("small", points[0].spec) == told


def test_settings_hold_where_their_method_runs_and_the_command_on_the_page_repeats_them(lamp):
    overrides = {"aloe": {"training": "lora"}, "chameleon": {"group_size": 7}}
    chosen = {spec.name: (spec, points) for spec, points in choose("all", "small", [], overrides, data=lamp)}
    assert chosen["table1"][1][0].spec.overrides == overrides
    assert chosen["table3"][1][0].spec.overrides == {"chameleon": {"group_size": 7}}
    sizes = [one.spec.overrides["chameleon"]["group_size"] for one in chosen["figure3"][1]]
    assert sizes == [1, 20, 100]  # its axis stays
    told = {name: spec.departures("small", points[0].spec).get("set") for name, (spec, points) in chosen.items()}
    assert told["table1"] == ["aloe.training=lora", "chameleon.group_size=7"]
    assert told["figure3"] is None
    with pytest.raises(HarnessError, match="'dpo', which is not among the methods of table3"):
        choose("table3", "small", [], {"dpo": {}}, data=lamp)


def test_table_1_shows_the_added_methods_and_controls_as_columns_of_their_own():
    spec = experiment("table1")
    labels = [method.label for method in spec.points("small", data="lamp")[0].spec.methods]
    shown = [column.method for column in spec.layout.showing(labels).methods]
    assert shown[:5] == [column.method for column in spec.layout.methods]
    assert set(shown) == set(labels) >= {"rag", "pag", "caa", "style_vector", "random_direction"}
    figure = experiment("figure4").layout
    assert figure.showing(["instruct"]) == figure


def test_a_plan_passes_over_records_that_cannot_be_read(lamp, tmp_path):
    damaged = tmp_path / "out/cells/lamp3/instruct/seed-0-damaged/cell.json"
    damaged.parent.mkdir(parents=True)
    chosen = choose("table1", "small", [], data=lamp)
    sound = printed(chosen, tmp_path / "out")
    damaged.write_text('{"schema_version": 1}')
    assert printed(chosen, tmp_path / "out") == sound


def test_a_cheap_part_is_run_documented_with_likelihoods_and_rebuilt(tmp_path):
    """On the embedded model, whose page is named by the preset and stands beside the other one."""
    few = {"users": 2, "budget": 600.0, "methods": "instruct,rag,user_majority", "embedder": "tiny-llama"}
    chosen = choose("table1", "small", ["tiny-llama"], data="synthetic", tasks="lamp3,lamp7", **few)
    console = Console(file=io.StringIO(), width=150)
    assert run_reproduce(chosen, "small", tmp_path / "out", console, docs=tmp_path / "docs") == 0
    [record] = (tmp_path / "docs" / "reproduction-small").glob("*.json")
    assert json.loads(record.read_text())["configs"]["rag"]["by"] == "bm25"
    page = (tmp_path / "docs" / "reproduction-small.md").read_text(encoding="utf-8")
    for task, measures in (("LaMP3", ("gold log p ↑", "label Acc. ↑", "neutral log p ↑")), ("LaMP7", ("own words ↑",))):
        assert all(f"| {task} | {measure} | measured |" in page for measure in measures)
    assert "| LaMP7 | label Acc." not in page
    assert "rag (added)" in page
    assert "users worse off" in page
    assert (
        "harness reproduce table1 --preset small --tasks lamp3,lamp7 --users 2 --budget 600 --models tiny-llama`"
        in page
    )
    both = [*chosen, *choose("figure5", "small", ["tiny-llama"], data="synthetic", **few)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert run_reproduce(both, "small", tmp_path / "out", console, compute=False, docs=tmp_path / "docs") == 0
    assert any("Left out" in str(one.message) for one in told)  # Figure 5 has not begun
    assert Forecast(tmp_path / "out", {}).left(plans(chosen)[0].own) == []
    assert Forecast(tmp_path / "out", {}).left(plans(both)[1].own) == list(plans(both)[1].own)
    assert (tmp_path / "docs" / "reproduction-small.md").read_text(encoding="utf-8") == page
    other = choose("table1", "small", ["tiny-llama"], data="synthetic", tasks="lamp3,lamp7", **few | {"users": 3})
    with pytest.raises(HarnessError, match="under these settings: users is 2 there and 3 here"):
        run_reproduce(other, "small", tmp_path / "out", console, compute=False)


def test_every_experiment_has_the_preset():
    assert all("small" in spec.presets and spec.overlay("small").note for spec in experiments("all"))
