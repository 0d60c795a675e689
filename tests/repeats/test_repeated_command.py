"""A finished `harness compare`, repeated: nothing heavy is imported, nothing is written, the same is printed."""

import importlib.abc
import shutil
import sys
from pathlib import Path

import pytest

from tests.forking import command_line, forked

ASKED = ("compare", "--methods", "instruct,constant", "--tasks", "lamp3", "--budget", "600s", "--users", "2")
HEAVY = {"torch", "transformers", "trl", "peft", "lm_eval", "sentence_transformers", "datasets", "scipy", "matplotlib"}
PLUGINS = (
    "harness.methods",
    "harness.tasks.lamp",
    "harness.tasks.metrics",
    "harness.library",
    "harness.running.experiment",
)


class Refusing(importlib.abc.MetaPathFinder):
    """Says which of the heavy modules was to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY or name in PLUGINS:
            print(f"imports {name}", file=sys.stderr)
            raise ImportError(name)


def without_heavy_modules():
    """The command line where the libraries that the process began with are as good as not imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] in HEAVY:
            del sys.modules[name]
    sys.meta_path.insert(0, Refusing())
    command_line()


def without_wandb():
    """That, and nothing of W&B can be imported either."""
    HEAVY.add("wandb")
    without_heavy_modules()


def call(target, folder, *options):
    with forked(target, *ASKED, "--out", "out", *options, cwd=folder) as process:
        status = process.wait(120)
        return status, process.stdout, process.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder whose `out` has a finished run, and what that printed."""
    folder = tmp_path_factory.mktemp("repeated")
    status, printed, said = call(command_line, folder, "--wandb", "disabled")
    assert status == 0, said
    return folder, printed


def state(folder: Path):
    files = [path for path in sorted((folder / "out").rglob("*")) if path.is_file() and path.name != "run.lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def table(printed):
    """From the first sentence to the last line; before it stands what was computed."""
    return printed[printed.index("\nlamp3: ") :]


def test_a_repeated_run_imports_and_writes_nothing_and_prints_the_same(finished):
    folder, printed = finished
    before = state(folder)
    assert folder / "out" / "finished.json" in before
    status, again, said = call(without_heavy_modules, folder, "--wandb", "disabled")
    assert (status, said) == (0, "")
    assert "all of it is finished, and nothing that it was made from has changed" in again
    assert table(again) == table(printed)
    assert state(folder) == before


def offline_runs(folder):
    return sorted((folder / "out" / "wandb").glob("offline-run-*"))


def test_wandb_gets_one_offline_run_of_what_finished_however_often_it_is_repeated(finished):
    folder, printed = finished
    status, _, said = call(without_heavy_modules, folder, "--wandb", "offline")
    assert (status, "Warning" in said) == (0, False), said
    [run] = offline_runs(folder)
    status, again, said = call(without_wandb, folder, "--wandb", "offline")
    assert (status, said) == (0, "")
    assert f"`wandb sync {run.resolve()}` sends it" in again
    assert table(printed).splitlines()[:5] == table(again).splitlines()[:5]
    assert offline_runs(folder) == [run]


def test_wandb_gets_a_run_anew_where_it_is_gone_or_meant_for_another_project(finished, monkeypatch):
    folder, _ = finished
    assert call(without_heavy_modules, folder, "--wandb", "offline")[0] == 0
    shutil.rmtree(offline_runs(folder)[-1])
    before = offline_runs(folder)
    assert "imports wandb" in call(without_wandb, folder, "--wandb", "offline")[2]
    assert call(without_heavy_modules, folder, "--wandb", "offline")[0] == 0
    assert len(offline_runs(folder)) == len(before) + 1
    monkeypatch.setenv("WANDB_PROJECT", "another")
    assert "imports wandb" in call(without_wandb, folder, "--wandb", "offline")[2]


def test_another_option_takes_the_long_way(finished):
    folder, _ = finished
    status, _, said = call(without_heavy_modules, folder, "--wandb", "disabled", "--seeds", "0,1")
    assert status != 0
    assert "imports" in said


def test_keeping_fits_takes_the_long_way_and_warns_unless_they_are_kept(finished):
    folder, _ = finished
    status, _, said = call(command_line, folder, "--wandb", "disabled", "--save-fits")
    assert status == 0
    assert "not kept: constant on lamp3, seed 0; instruct on lamp3, seed 0. To have" in said
    for name in ("instruct", "constant"):
        (cell,) = (folder / "out" / "cells" / "lamp3" / name).iterdir()
        (cell / "fit").mkdir()  # all that the fit of instruct is, but not that of constant, which is computed again
    assert call(command_line, folder, "--wandb", "disabled")[0] == 0  # leaves a note of the folder as it is now
    status, _, said = call(command_line, folder, "--wandb", "disabled", "--save-fits")
    assert (status, "not kept" in said) == (0, False)
    assert list((cell / "fit").iterdir())
    status, _, said = call(without_heavy_modules, folder, "--wandb", "disabled", "--save-fits")
    assert (status, said) == (0, "")


def test_fresh_and_dry_run_take_the_long_way(finished):
    folder, _ = finished
    for option in ("--fresh", "--dry-run"):
        assert "imports" in call(without_heavy_modules, folder, "--wandb", "disabled", option)[2]
