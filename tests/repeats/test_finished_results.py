"""Finished comparisons and sweeps: read back whole, printed the same, and not where a cell is to be tried again."""

import pytest
from rich.console import Console
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.repeats import finished
from harness.repeats.finished import NOTE, Call
from harness.repeats.finished_run import finished_comparison, leave_comparison
from harness.repeats.run_inputs import RunInputs
from harness.reporting.comparison_report import print_report
from harness.reporting.stored_comparison import read_comparison, reads_back
from harness.results.locking import alone
from harness.results.writing import replacing, write_text
from harness.sweeps.finished_sweep import conclude, finished_sweep, leave_sweep
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_report import write as write_sweep
from harness.sweeps.sweep_spec import Point, SweepSpec
from tests import fabricate

SWEEP = SweepSpec(name="depth", parameters={"history": {"values": [1, 4]}})


@pytest.fixture(autouse=True)
def around(monkeypatch):
    monkeypatch.setattr(finished, "surroundings", lambda *_: {})


def write(comparison, out):
    """What is read back; the plots and pages of `comparison_report.write` take time and are not looked at here."""
    with replacing(out / "users.csv") as temporary:
        comparison.users_to_pandas().to_csv(temporary, index=False)
    write_text(out / "comparison.json", comparison.model_dump_json(indent=2))


def call():
    made = Call("compare", {})
    made.reads(RunInputs(frozenset(), frozenset()))
    return made


def printed(show):
    console = Console(record=True, width=150)
    show(console)
    return console.export_text()


@pytest.fixture
def run(tmp_path):
    out = tmp_path / "out"
    comparison = fabricate.compare(fabricate.filled(out, fabricate.TWO, ("lamp2", "lamp3"), users=6))
    write(comparison, out)
    return comparison, out


def test_a_comparison_is_read_back_whole_its_users_too(run):
    comparison, out = run
    assert comparison.users
    assert reads_back(comparison, out)
    assert read_comparison(out).users == comparison.users


def test_a_user_whose_id_is_shown_otherwise_keeps_no_run_from_being_finished(run):
    comparison, out = run
    shown = comparison.users[0].model_copy(update={"user_id": "Ann Lee"})
    write(comparison.model_copy(update={"users": [shown, *comparison.users[1:]]}), out)
    for name, same in (("Ann\u200bLee", True), ("Ann\u00a0Lee", True), ("Ann-Lee", False)):
        user = shown.model_copy(update={"user_id": name})
        assert reads_back(comparison.model_copy(update={"users": [user, *comparison.users[1:]]}), out) is same


def test_a_finished_run_prints_what_it_printed(run):
    comparison, out = run
    leave_comparison(call(), comparison, out)
    found = finished_comparison(call(), out)
    assert printed(lambda console: print_report(found, console)) == printed(lambda c: print_report(comparison, c))


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_cell_that_is_tried_again_leaves_no_note(run, status):
    comparison, out = run
    comparison.rows[1] = comparison.rows[1].model_copy(update={"status": status, "metrics": {}})
    write(comparison, out)
    leave_comparison(call(), comparison, out)
    assert not (out / NOTE).exists()


def test_a_cell_without_answers_or_record_leaves_no_note(run):
    comparison, out = run
    comparison.rows.pop()
    write(comparison, out)
    leave_comparison(call(), comparison, out)
    assert not (out / NOTE).exists()


@pytest.mark.parametrize("name", ["comparison.json", "users.csv"])
def test_files_that_do_not_give_the_comparison_back_leave_no_note(run, name):
    comparison, out = run
    text = (out / name).read_text()
    (out / name).write_text(text.replace("u1", "u9", 1) if name == "users.csv" else text.replace("0.", "1.", 1))
    leave_comparison(call(), comparison, out)
    assert not (out / NOTE).exists()


def test_a_folder_that_another_run_has_is_refused(run):
    comparison, out = run
    leave_comparison(call(), comparison, out)
    with alone(out), pytest.raises(HarnessError, match="in use by another run"):
        finished_comparison(call(), out)


@pytest.fixture
def sweep(tmp_path):
    out, results = tmp_path / "sweep", []
    for number, history in enumerate((1, 4)):
        folder = out / "points" / f"p{number}"
        store = fabricate.filled(folder, fabricate.TWO, users=6)
        comparison = fabricate.compare(store)
        write(comparison, folder)
        results.append(PointResult(Point({"history": history}, comparison.spec), folder, comparison))
    return results, write_sweep(SWEEP, results, out), out


def test_a_finished_sweep_is_read_back_and_prints_what_it_printed(sweep):
    results, written, out = sweep
    leave_sweep(call(), results, written, out)
    found, files = finished_sweep(call(), out)
    assert (found, files) == (results, written)
    assert printed(lambda c: conclude(SWEEP, found, files, out, "disabled", c)) == printed(
        lambda c: conclude(SWEEP, results, written, out, "disabled", c)
    )


def test_a_changed_point_or_plot_takes_the_long_way(sweep):
    results, written, out = sweep
    leave_sweep(call(), results, written, out)
    written.plots[0].write_bytes(b"other")
    assert finished_sweep(call(), out) is None
    leave_sweep(call(), results, written, out)
    (out / "points" / "p1" / "users.csv").unlink()
    assert finished_sweep(call(), out) is None


def test_a_point_whose_cell_is_tried_again_leaves_no_note(sweep):
    results, written, out = sweep
    rows = results[1].comparison.rows
    rows[0] = rows[0].model_copy(update={"status": "failed", "metrics": {}})
    write(results[1].comparison, results[1].folder)
    leave_sweep(call(), results, written, out)
    assert not (out / NOTE).exists()


def test_the_command_of_a_finished_sweep_prints_its_tables_and_writes_nothing(sweep, tmp_path, capfd):
    results, written, out = sweep
    file = tmp_path / "depth.yaml"
    file.write_text("name: depth\nparameters: {history: {values: [1, 4]}}")
    asked = Call("sweep", {"file": file, "content": file.read_bytes().hex(), "preset": None})
    asked.reads(RunInputs(frozenset(), frozenset()))
    leave_sweep(asked, results, written, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    result = CliRunner().invoke(app, ["sweep", str(file), "--out", str(out), "--wandb", "disabled"])
    assert result.exit_code == 0, result.exception
    shown = result.output + capfd.readouterr().out
    assert f"2 points in {out}: all of it is finished" in shown
    assert "dpo" in shown
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert after == {path: time for path, time in before.items() if path.suffix != ".lock"}


def test_a_point_of_a_sweep_is_a_call_of_its_own(run):
    comparison, out = run
    asked = comparison.spec.model_dump(mode="json")
    command = call()
    point = command.part("point", asked)
    point.reads(RunInputs(frozenset(), frozenset()))
    leave_comparison(point, comparison, out)
    assert finished_comparison(command, out) is None
    assert finished_comparison(Call("another command", {}).part("point", {**asked, "history": 1}), out) is None
    assert finished_comparison(Call("another command", {}).part("point", asked), out) == comparison
