"""Repeating a command: what is finished and sound stays, everything else is computed again, and it says why."""

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from harness import compare
from harness.api import HarnessError
from harness.library import default_folder
from harness.methods.llm_rec import LlmRec
from harness.reporting.comparison_report import build
from harness.results import store
from harness.results.locking import alone
from harness.results.store import Store
from harness.running.experiment import Experiment
from harness.running.progress import Quiet
from harness.specs.resolve import resolve
from tests.forking import command_line, forked

ROOT = Path(__file__).parents[2]
SETTINGS = {"methods": "instruct,llm_rec", "tasks": "lamp3", "budget": 60.0, "users": 2, "seeds": (0,)}
SPEC = resolve(SETTINGS["methods"], SETTINGS["tasks"], budget=60.0, users=2, seeds=(0,))


class Recorder(Quiet):
    def __init__(self):
        self.computed, self.why = [], {}

    def recomputing(self, cell, why):
        self.why[cell.method] = why

    def finished(self, record, reused):
        if not reused:
            self.computed.append(record.spec.method)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    compare(**SETTINGS, out=out, save_fits=True)
    return out


@pytest.fixture
def out(original, tmp_path):
    """A finished run to spoil."""
    return shutil.copytree(original, tmp_path / "out")


def cell(out, method):
    (folder,) = (out / "cells" / "lamp3" / method).iterdir()
    return folder


def again(out):
    recorder = Recorder()
    comparison = compare(**SETTINGS, out=out, listener=recorder)
    assert {row.status for row in comparison.rows} == {"complete"}
    return recorder, comparison


def test_a_finished_run_is_read_without_loading_a_model(out, monkeypatch):
    def load(*_, **__):
        pytest.fail("loaded")

    for name in ("load", "load_embedder", "prepare"):
        monkeypatch.setattr(f"harness.running.experiment.{name}", load)
    before = json.loads((out / "comparison.json").read_text())
    recorder, comparison = again(out)
    assert recorder.computed == []
    assert [row.metrics for row in comparison.rows] == [row["metrics"] for row in before["rows"]]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "samples.parquet").write_bytes(b"PAR1"), "samples.parquet is missing or not"),
        (lambda folder: (folder / "samples.parquet").unlink(), "samples.parquet is missing or not"),
        (lambda folder: os.truncate(folder / "cell.json", 300), "cell.json is damaged"),
        (lambda folder: (folder / "cell.json").unlink(), "stopped before its record was written"),
        (
            lambda folder: (folder / "cell.json").write_text(
                (folder / "cell.json").read_text().replace('"complete"', '"interrupted"')
            ),
            "interrupted",
        ),
    ],
)
def test_a_cell_that_is_damaged_or_was_interrupted_is_computed_again_alone(out, original, spoil, why):
    spoil(cell(out, "llm_rec"))
    recorder, _ = again(out)
    assert recorder.computed == ["llm_rec"]
    assert why in recorder.why["llm_rec"]
    ours, theirs = Store(out), Store(original)
    for record in theirs.records():
        assert ours.samples(record.spec).equals(theirs.samples(record.spec))
    assert again(out)[0].computed == []


def test_a_cell_whose_fit_is_damaged_is_computed_again_where_fits_are_kept(out):
    os.truncate(next(path for path in (cell(out, "llm_rec") / "fit").rglob("*") if path.is_file()), 3)
    assert again(out)[0].computed == []
    recorder = Recorder()
    compare(**SETTINGS, out=out, save_fits=True, listener=recorder)
    assert recorder.computed == ["llm_rec"]
    assert Store(out).without_fit() == []


@pytest.fixture
def unanswered(original, tmp_path, monkeypatch):
    """The run with a cell whose evaluation is ended by what is given; `fits` names the methods that fit after that."""
    out, fits = shutil.copytree(original, tmp_path / "out"), []
    fit = LlmRec.fit

    def end(error, **settings):
        shutil.rmtree(cell(out, "llm_rec"))

        def ended(*_):
            raise error

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr("harness.running.cell.evaluate", ended)
            compare(**SETTINGS, out=out, **settings)
        monkeypatch.setattr(LlmRec, "fit", lambda self, context: fits.append("llm_rec") or fit(self, context))
        return out, fits

    return end


@pytest.mark.parametrize(
    ("error", "why"),
    [(KeyboardInterrupt(), "interrupted by Ctrl-C or SIGTERM; its fit is kept"), (ValueError("no"), "its fit is kept")],
)
def test_a_fit_is_not_made_again_where_answering_with_it_was_ended(unanswered, original, error, why):
    out, fits = unanswered(error)
    recorder, _ = again(out)
    assert recorder.computed == ["llm_rec"]
    assert why in recorder.why["llm_rec"]
    assert fits == []
    ours, theirs = Store(out), Store(original)
    [record, before] = [next(r for r in s.records() if r.spec.method == "llm_rec") for s in (ours, theirs)]
    assert ours.samples(record.spec).equals(theirs.samples(before.spec))
    assert (record.attempts, record.fit_hash) == (2, before.fit_hash)
    assert record.fit_seconds > 0
    assert (record.tokens_in, record.tokens_out) == (before.tokens_in, before.tokens_out)
    assert sorted(path.name for path in cell(out, "llm_rec").iterdir()) == ["attempts", "cell.json", "samples.parquet"]


def test_a_fit_that_was_answered_with_at_the_second_attempt_is_kept_where_fits_are(unanswered):
    out, fits = unanswered(ValueError("no"), save_fits=True)
    recorder = Recorder()
    compare(**SETTINGS, out=out, save_fits=True, listener=recorder)
    assert (recorder.computed, fits) == (["llm_rec"], [])
    assert Store(out).without_fit() == []


def test_a_fit_with_which_answering_fails_twice_is_made_again(unanswered, monkeypatch):
    out, fits = unanswered(ValueError("no"))
    with monkeypatch.context() as patched:
        patched.setattr("harness.running.cell.evaluate", lambda *_: {}["key"])
        compare(**SETTINGS, out=out)
    assert fits == []
    recorder, _ = again(out)
    assert recorder.why["llm_rec"] == "failed: KeyError: 'key'"
    assert fits == ["llm_rec"]


def test_an_interruption_is_no_failure_to_answer_with_a_fit(unanswered, monkeypatch):
    out, fits = unanswered(KeyboardInterrupt())
    with monkeypatch.context() as patched:
        patched.setattr("harness.running.cell.evaluate", lambda *_: {}["key"])
        compare(**SETTINGS, out=out)
    recorder, _ = again(out)
    assert recorder.why["llm_rec"] == "failed: KeyError: 'key'; its fit is kept"
    assert fits == []


@pytest.mark.parametrize("save_fits", [False, True])
def test_a_fit_goes_only_after_the_record_of_its_answers_is_written(out, monkeypatch, save_fits):
    shutil.rmtree(cell(out, "llm_rec"))
    write_text = store.write_text

    def killed(path, text):
        if path.name == "cell.json":
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            compare(**SETTINGS, out=out, save_fits=save_fits)
    monkeypatch.setattr(LlmRec, "fit", lambda *_: pytest.fail("the fit was there"))
    compare(**SETTINGS, out=out, save_fits=save_fits)
    left = {path.name for path in cell(out, "llm_rec").iterdir()}
    assert left == {"attempts", "cell.json", "samples.parquet", *(["fit"] if save_fits else [])}


def test_a_fit_of_other_hardware_is_not_answered_with(unanswered):
    out, fits = unanswered(KeyboardInterrupt())
    for path in (out / "run.json", cell(out, "llm_rec") / "fitted.json"):
        found = json.loads(path.read_text())
        found["hardware"]["cores"] = 999
        path.write_text(json.dumps(found))
    shutil.rmtree(cell(out, "instruct"))
    again(out)
    assert fits == ["llm_rec"]


def test_a_kept_fit_that_is_damaged_is_made_again(unanswered):
    out, fits = unanswered(ValueError("no"))
    os.truncate(next(path for path in (cell(out, "llm_rec") / "fit").rglob("*") if path.is_file()), 3)
    recorder, _ = again(out)
    assert recorder.why["llm_rec"] == "failed: ValueError: no"
    assert fits == ["llm_rec"]


def test_fits_that_are_evaluated_at_marks_are_not_kept_without_their_checkpoints(unanswered):
    out, fits = unanswered(ValueError("no"), marks=(0.5,), fresh=True)
    compare(**SETTINGS, marks=(0.5,), out=out)
    assert fits == ["llm_rec"]


def test_where_the_disk_has_no_room_for_a_fit_it_is_answered_with_all_the_same(original, tmp_path, monkeypatch):
    out = shutil.copytree(original, tmp_path / "out")
    shutil.rmtree(cell(out, "llm_rec"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.results.store.shutil.move", full)
    recorder, _ = again(out)
    assert recorder.computed == ["llm_rec"]
    assert not (cell(out, "llm_rec") / "fit").exists()


def test_a_quota_that_is_used_up_in_the_middle_of_moving_a_fit_leaves_it_where_it_is(original, tmp_path, monkeypatch):
    out = shutil.copytree(original, tmp_path / "out")
    shutil.rmtree(cell(out, "llm_rec"))

    def full(source, place):
        place.mkdir()
        raise shutil.Error([(str(source), str(place), str(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))))])

    monkeypatch.setattr("harness.results.store.shutil.move", full)
    assert again(out)[0].computed == ["llm_rec"]
    assert not (cell(out, "llm_rec") / "fit").exists()


def test_what_a_file_manager_leaves_in_a_run_is_no_part_of_it(out, tmp_path):
    for folder in (out, cell(out, "llm_rec"), cell(out, "llm_rec") / "fit"):
        (folder / ".DS_Store").write_bytes(b"looked at")
    recorder = Recorder()
    compare(**SETTINGS, out=out, save_fits=True, listener=recorder)
    assert recorder.computed == []
    assert Store(out).without_fit() == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".DS_Store").write_bytes(b"looked at")
    Store(tmp_path / "new").require_ours()


def test_a_report_on_damaged_cells_says_which_and_what_to_do(out):
    (cell(out, "llm_rec") / "samples.parquet").write_bytes(b"PAR1")
    notes = build(Store(out)).notes
    assert [note for note in notes if "llm_rec" in note and "cannot be read" in note and "Repeat the command" in note]
    os.truncate(cell(out, "llm_rec") / "cell.json", 300)
    with pytest.raises(HarnessError, match=r"Cannot read \S+llm_rec\S+cell\.json.*Repeat the command"):
        build(Store(out))


def test_after_a_failed_cell_the_same_command_repeats_that_cell_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fail(self, context):
        raise RuntimeError("no notes today")

    with monkeypatch.context() as patched:
        patched.setattr("harness.methods.llm_rec.LlmRec.fit", fail)
        assert [row.status for row in compare(**SETTINGS).rows] == ["complete", "failed"]
    [folder] = Path("runs").iterdir()
    assert default_folder(SPEC) == folder
    recorder = Recorder()
    assert [row.status for row in compare(**SETTINGS, listener=recorder).rows] == ["complete", "complete"]
    assert recorder.computed == ["llm_rec"]
    assert recorder.why == {"llm_rec": "failed: RuntimeError: no notes today"}
    assert list(Path("runs").iterdir()) == [folder]
    assert not list(folder.rglob("error.txt"))
    assert default_folder(SPEC) != folder


def test_a_second_run_in_a_folder_is_told_and_touches_nothing(out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    with alone(out), pytest.raises(HarnessError, match=f"process {os.getpid()}"):
        compare(**SETTINGS, out=out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == before


def test_records_of_an_earlier_version_are_reported_and_computed_again(out):
    path = cell(out, "instruct") / "cell.json"
    record = json.loads(path.read_text())
    for field in ("engine_source", "task_source", "libraries", "config_files", "embedder_fingerprint"):
        del record["spec"][field]
    del record["parts"], record["files"]
    path.write_text(json.dumps({**record, "schema_version": 1}))
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({key: value for key, value in run.items() if key != "cells"}))
    assert len(Store(out).records()) == 2
    old = Store(out).records()[0]
    path.parent.rename(Store(out).cell_dir(old.spec))
    found = {state.cell.spec.method: state for state in Experiment(SPEC, Store(out), Quiet()).outlook()}
    assert found["llm_rec"].finished
    assert "another version of the harness" in found["instruct"].why
    assert again(out)[0].computed == ["instruct"]
    assert len(list((out / "cells" / "lamp3" / "instruct").iterdir())) == 2
    assert not [note for note in build(Store(out)).notes if "several records" in note]


@pytest.fixture
def installation(tmp_path):
    """A copy of the harness to change, and a way to run it."""
    place = tmp_path / "site" / "harness"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "harness", place, ignore=ignore)
    for plugins in ("methods", "tasks", "leaderboards"):
        shutil.copytree(ROOT / plugins, place / plugins, ignore=ignore, dirs_exist_ok=True)

    def run(*arguments):
        environment = {"PYTHONPATH": str(place.parent), "COLUMNS": "200"}
        given = ("--methods", "instruct", "--tasks", "lamp3", "--budget", "60s", "--users", "2", "--wandb", "disabled")
        command = ("compare", *arguments, *given, "--out", str(tmp_path / "out"))
        with forked(command_line, *command, cwd=tmp_path, environment=environment) as process:
            assert process.wait(240) == 0, process.stderr
            return process.stdout

    return place, run


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_changed_edit_or_prompt_is_computed_again_and_a_changed_comment_plot_or_neighbour_is_not(installation):
    place, run = installation
    assert "reused" not in run()
    edit(place / "model" / "encoding.py", "# how every prompt ends", "# a remark")
    edit(place / "methods" / "dpo.py", "class Dpo(", "OTHER = 1\n\n\nclass Dpo(")
    edit(place / "formatting.py", "\n\n\ndef ", "\n\nCOLOUR = 'red'\n\n\ndef ")
    assert "finished" in run("--dry-run")
    edit(place / "model" / "encoding.py", '_gap = " "', '_gap = "  "')
    edit(place / "tasks" / "prompts.py", '"Your answer:"', '"Your reply:"')
    said = " ".join(run().split())
    assert "Computing instruct on lamp3, seed 0 again: " in said
    assert "engine source harness.model.encoding" in said
    assert "task source harness.tasks.prompts" in said
    assert "reused" not in said
