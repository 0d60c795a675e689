"""What `harness reproduce --dry-run` expects: how long, and which cells are left."""

import io
import json

import pytest
from rich.console import Console

from harness.registry import make_task, method_class
from harness.reproduction.experiment_spec import common
from harness.reproduction.forecast import Forecast, plans
from harness.reproduction.reproducing import choose, print_plan
from harness.results.fingerprints import digest, library_versions
from harness.results.source_closure import engine_closure, plugin_closure
from harness.results.store import Store
from harness.specs.run_spec import CellSpec
from tests import fabricate
from tests.specs.test_small_search import tweets_of


def test_expected_hours_are_those_of_the_paces_and_finished_cells_correct_them(tmp_path):
    [(spec, points)] = choose("table1", "small", [], data="lamp", tasks="lamp7", methods="instruct,aloe", users=10)
    cells = plans([(spec, points)])[0].own
    pace = common().paces["smollm2-135m"]
    fixed, item, _ = pace.answer["lamp7"]
    answering = 10 * (fixed + 8 * item)
    assert Forecast(tmp_path, common().paces).seconds(cells, None) == pytest.approx(2 * (pace.cell + answering) + 300)
    frame = fabricate.samples("lamp2", 0.5, users=5)
    record = fabricate.record("lamp2", "instruct", frame)
    record.spec = record.spec.model_copy(update={"task": "lamp7", "model": "smollm2-135m", "history": 8, "users": 5})
    record.users, record.fit_seconds, record.eval_seconds = 5, 0, 3 * answering / 2  # thrice as slow
    Store(tmp_path).write(record, frame)
    forecast = Forecast(tmp_path, common().paces)
    assert forecast.seconds(cells, None) == pytest.approx(2 * (pace.cell + 3 * answering) + 300)
    assert forecast.left(cells) == list(cells)  # 5 users are not 10


def test_what_answers_without_the_model_takes_no_time_to_answer(tmp_path):
    chosen = choose("table1", "small", [], data="lamp", tasks="lamp7", methods="instruct,constant", users=100)
    plain, constant = plans(chosen)[0].own
    forecast = Forecast(tmp_path, common().paces)
    assert forecast.seconds([constant], None) == common().paces["smollm2-135m"].cell
    assert forecast.seconds([plain], None) > 100


def test_no_more_users_are_expected_than_the_data_have(tmp_path):
    data = tweets_of(5, tmp_path / "data")

    def expected(folder, users):
        chosen = choose("table1", "small", [], data=str(folder), tasks="lamp7", methods="instruct,rag", users=users)
        return Forecast(tmp_path / "out", common().paces).seconds(plans(chosen)[0].own, None)

    none = tmp_path / "none"
    assert expected(data, 100) == expected(none, 5) < expected(none, 100)
    assert expected(data, 3) == expected(none, 3)


def finished_cell(cell, folder, **other):
    """Leave in `folder` the record of a planned cell on data whose only split is train, by today's code."""
    asked = {name: value for name, value in json.loads(cell).items() if name in CellSpec.model_fields}
    frame = fabricate.samples("lamp2", 0.5)
    record = fabricate.record("lamp2", asked["method"], frame)
    plugins = {"task_source": type(make_task(asked["task"])), "method_source": method_class(asked["method"])}
    source = {name: digest(plugin_closure(plugin.__module__).modules) for name, plugin in plugins.items()}
    source["engine_source"] = digest(engine_closure().modules)
    closures = [engine_closure(), *(plugin_closure(plugin.__module__) for plugin in plugins.values())]
    source["libraries"] = library_versions(name for closure in closures for name in closure.libraries)
    record.spec = CellSpec.model_validate({**record.spec.model_dump(), **asked, **source, "split": "train", **other})
    Store(folder).write(record, frame)


def test_a_cell_on_the_only_split_that_the_data_have_is_not_left_to_compute(tmp_path):
    [(spec, points)] = choose("table1", "small", [], data="lamp", tasks="lamp7", methods="instruct,rag", users=10)
    first, second = plans([(spec, points)])[0].own
    finished_cell(first, tmp_path)
    assert Forecast(tmp_path, common().paces).left([first, second]) == [second]


def test_what_fresh_discards_is_left_to_compute(tmp_path):
    chosen = choose("table1", "small", [], data="lamp", tasks="lamp7", methods="instruct,rag", users=10)
    finished_cell(plans(chosen)[0].own[0], tmp_path)
    shown = {}
    for fresh in (False, True):
        console = Console(file=io.StringIO(), width=200)
        print_plan(chosen, "small", tmp_path, console, fresh)
        shown[fresh] = console.file.getvalue()
    assert "for the 1 cells that are left" in shown[False]
    assert "cells that are left" not in shown[True]


@pytest.mark.parametrize(
    "other",
    [{f"{part}_source": "of yesterday"} for part in ("engine", "task", "method")] + [{"libraries": {"torch": "1.0"}}],
    ids=lambda other: next(iter(other)),
)
def test_a_cell_whose_code_or_libraries_have_changed_since_is_left_to_compute(tmp_path, other):
    [(spec, points)] = choose("table1", "small", [], data="lamp", tasks="lamp7", methods="instruct", users=10)
    [cell] = plans([(spec, points)])[0].own
    finished_cell(cell, tmp_path, **other)
    assert Forecast(tmp_path, common().paces).left([cell]) == [cell]


def test_what_has_nothing_to_fit_is_expected_to_answer_once_for_all_budgets(tmp_path):
    [(spec, points)] = choose("figure4", "small", [], data="lamp", tasks="lamp7", users=10)
    cells = plans([(spec, points)])[0].own
    pace = common().paces["smollm2-135m"]
    fixed, item, _ = pace.answer["lamp7"]
    fits = [budget for budget in (150, 300, 450, 600) for _ in ("chameleon", "dpo", "aloe")]
    expected = len(cells) * pace.cell + (len(fits) + 1) * 10 * (fixed + 8 * item) + sum(fits)
    assert len(cells) == len(fits) + 4
    assert Forecast(tmp_path, common().paces).seconds(cells, None) == pytest.approx(expected)
