"""Two experiments of a few users through the real code: what they share is computed once, and all can be rebuilt."""

import io
import itertools

import pytest
from rich.console import Console
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.reproduction import experiments
from harness.reproduction.forecast import plans
from harness.reproduction.reproducing import choose, print_plan, run_reproduce
from harness.results.store import Store
from harness.running.progress import Quiet
from tests import fabricate

FEW = {"users": 2, "budget": "600s", "tasks": "lamp3", "chameleon.ccs": {"restarts": 2, "epochs": 20}}


class Counting(Quiet):
    def __init__(self):
        self.computed, self.reused = [], []

    def finished(self, record, reused):
        (self.reused if reused else self.computed).append(record.spec.digest)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """(folder, what was chosen, one listener per experiment) of Table 3 and Figure 5."""
    out = tmp_path_factory.mktemp("reproduction")
    chosen = [*choose("table3", "tiny", [], **FEW), *choose("figure5", "tiny", [], **FEW)]
    listeners = [Counting() for _ in chosen]
    for (spec, points), listener in zip(chosen, listeners, strict=True):
        experiments.reproduce(spec, points, "tiny", out, listener)
    return out, chosen, listeners


def test_cells_that_both_need_are_computed_once_as_the_plan_says(reproduced):
    out, chosen, (table, figure) = reproduced
    assert [plan.new for plan in plans(chosen)] == [len(table.computed), len(figure.computed)] == [4, 8]
    assert len(set(figure.reused) & set(table.computed)) == 2
    assert len(list((out / "cells").glob("*/*/*/cell.json"))) == 12


def test_each_leaves_its_table_or_figure_and_ordinary_runs(reproduced):
    out, chosen, _ = reproduced
    for spec, points in chosen:
        assert {path.suffix for path in (out / spec.name).glob(f"{spec.name}.*")} == {".md", ".json", ".csv", ".png"}
        assert all(Store(out / spec.name / "points" / point.slug).records() for point in points)


def test_all_is_rebuilt_alike_from_the_records_without_computing(reproduced, tmp_path, monkeypatch):
    out, chosen, _ = reproduced
    before = {path: path.read_bytes() for path in out.glob("*/*.*") if path.suffix in (".md", ".json", ".csv")}
    for path in before:
        path.unlink()
    monkeypatch.setattr(experiments, "run_points", None)
    screen = io.StringIO()
    console = Console(file=screen, width=150)
    assert run_reproduce(chosen, "tiny", out, console, compute=False, docs=tmp_path / "docs") == 0
    assert {path: path.read_bytes() for path in before} == before
    assert "Undecided on tiny-llama" in " ".join(screen.getvalue().split())
    page = (tmp_path / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert page.count("## ") == 3
    assert (out / "reproduction.md").exists()


def test_the_command_rebuilds_from_what_is_there_and_computes_nothing(reproduced, monkeypatch):
    out, _, _ = reproduced
    (out / "table3" / "table3.md").unlink()
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*")}
    monkeypatch.setattr(experiments, "run_points", None)
    asked = [
        "--tasks",
        "lamp3",
        "--users",
        "2",
        "--budget",
        "600s",
        "--set",
        'chameleon.ccs={"restarts": 2, "epochs": 20}',
    ]
    result = CliRunner().invoke(app, ["reproduce", "table3", *asked, "--out", str(out), "--rebuild"])
    assert result.exit_code == 0, result.exception
    assert (out / "table3" / "table3.md").exists()
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*")} == before


@pytest.mark.parametrize(("name", "label"), [("table1", "chameleon"), ("figure4", "instruct")])
def test_a_failed_cell_is_told_by_the_exit_status_though_no_row_of_the_table_or_figure_says_failed(
    tmp_path, name, label
):
    chosen = choose(name, "tiny", [], tasks="lamp2", methods="instruct,chameleon", seeds=(0, 1))
    [(_, points)] = chosen
    for point in points:
        store = fabricate.store(tmp_path / name / "points" / point.slug, point.spec)
        for seed, method in itertools.product((0, 1), ("instruct", "chameleon")):
            frame = fabricate.samples("lamp2", 0.5, users=12, seed=seed)
            failed = (method, seed) == (label, 1) and point is points[0]
            record = fabricate.record(
                "lamp2", method, None if failed else frame, seed, "failed" if failed else "complete"
            )
            record.spec = record.spec.model_copy(update={"budget": point.spec.budget})
            store.write(record, None if failed else frame)
    assert run_reproduce(chosen, "tiny", tmp_path, Console(file=io.StringIO()), compute=False) == 1
    [result] = experiments.read_results(tmp_path)
    assert {row.status for row in result.rows} == {"complete"}


def test_a_rebuild_of_what_was_never_computed_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["reproduce", "table3", "--out", str(tmp_path / "none"), "--rebuild"])
    assert isinstance(result.exception, HarnessError)
    assert str(tmp_path / "none") in str(result.exception)


def test_an_unknown_preset_brings_the_nearest_and_not_what_it_would_lack():
    with pytest.raises(HarnessError, match=r"^Unknown preset 'smal'\. Did you mean small"):
        choose("table1", "smal", [])


def test_a_dry_run_computes_nothing_and_says_what_it_would(tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, width=150)
    print_plan(choose("all", "tiny", []), "tiny", tmp_path / "none", console)
    assert "91 cells" in screen.getvalue()
    assert "figure4" in screen.getvalue()
    assert not (tmp_path / "none").exists()
