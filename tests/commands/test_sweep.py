"""The command line of sweeps, as far as nothing is computed."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.sweeps.planned_cells import distinct_cells
from harness.sweeps.sweep_spec import expand, read_sweep
from tests.reproduction.test_forecast import finished_cell

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def invoke(*arguments):
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


def test_a_dry_run_of_the_readmes_sweep_prints_points_distinct_cells_and_time(tmp_path, capfd):
    [text] = [block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "parameters" in block]
    file = tmp_path / "history.yaml"
    file.write_text(text)
    result = invoke(file, "--dry-run", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    printed = " ".join((result.output + capfd.readouterr().out).split())
    # Eight points of two methods; instruct has one cell for each of the four lengths of history.
    assert "8 points ask for 16 cells, 12 of them distinct" in printed
    assert "at most 12 min of fitting" in printed
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_is_left_of_a_sweep_that_was_stopped(tmp_path, capfd):
    file = tmp_path / "sweep.yaml"
    file.write_text("parameters: {methods: {value: 'instruct,rag'}, tasks: {value: lamp7}, budget: {value: 60s}}")
    finished_cell(next(iter(distinct_cells(expand(read_sweep(file), None)))), tmp_path / "out")
    printed = []
    for options in ([], ["--fresh"]):
        result = invoke(file, "--dry-run", "--out", tmp_path / "out", *options)
        assert result.exit_code == 0, result.exception
        printed.append(" ".join((result.output + capfd.readouterr().out).split()))
    assert "at most 2 min of fitting, 1 min of it for what is left, 1 cell, loading" in printed[0]
    assert "at most 2 min of fitting, loading" in printed[1]


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("command", [("sweep", "sweep.yaml"), ("reproduce", "table1")], ids=lambda command: command[0])
def test_a_dry_run_for_ray_says_that_its_times_are_those_of_one_worker(tmp_path, monkeypatch, capfd, command, executor):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.executors.ray_pool._import", lambda: None)
    (tmp_path / "sweep.yaml").write_text("parameters: {methods: {value: instruct}, tasks: {value: lamp7}}")
    result = CliRunner().invoke(app, [*command, "--dry-run", "--executor", executor, "--out", "out"])
    assert result.exit_code == 0, result.exception
    printed = " ".join((result.output + capfd.readouterr().out).split())
    assert ("These are the times of one worker" in printed) == (executor == "ray")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parameters: {histroy: {values: [2]}}", "histroy.*Did you mean history"),
        ("parameters: {chameleon.num_layer: {values: [2]}}", "num_layer.*Did you mean num_layers"),
        ("paramters: {history: {values: [2]}}", "paramters.*Did you mean parameters"),
        ("parameters: {history: {values: [many]}}", "history"),
    ],
)
def test_a_broken_file_is_an_error_that_names_file_key_and_the_nearest_known_one(tmp_path, text, said):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    result = invoke(file, "--dry-run")
    assert isinstance(result.exception, HarnessError)
    assert str(file) in str(result.exception)
    assert re.search(said, str(result.exception), re.DOTALL)
