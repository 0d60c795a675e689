"""A method that fails costs its own cells alone; the command ends with status 1, and repeated it tries them again."""

import pytest
import torch
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.library import run
from harness.methods.controls.fixed_answers import Constant
from harness.methods.instruct import Instruct
from harness.reporting.stored_comparison import read_comparison
from harness.results.store import Store
from harness.running import experiment
from harness.specs.run_spec import RunSpec, parse_methods

SWEEP = "parameters: {methods: {value: 'instruct,constant'}, tasks: {value: lamp3}, users: {value: 2}}"
ASKED = {
    "compare": ["--methods", "instruct,constant", "--tasks", "lamp3", "--users", "2"],
    "sweep": ["sweep.yaml"],
    "run": ["--methods=instruct,constant", "--tasks=lamp3", "--users=2"],
    "reproduce": ["table3", "--tasks", "lamp3", "--users", "2", "--set", 'chameleon.ccs={"restarts": 2, "epochs": 20}'],
}


@pytest.mark.parametrize("command", ASKED)
def test_a_method_that_fails_is_exit_status_1_and_0_once_it_is_mended(command, tmp_path, monkeypatch):
    def fail(self, context):
        raise RuntimeError("no prompt today")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    asked = [command, *ASKED[command], "--out", "out", "--wandb", "disabled"]
    with monkeypatch.context() as patch:
        patch.setattr(Instruct, "fit", fail)
        assert CliRunner().invoke(app, asked).exit_code == 1
    statuses, reasons = read(tmp_path / "out")
    assert statuses.pop("instruct") == "failed"
    assert set(statuses.values()) == {"complete"}
    assert reasons["instruct"] == "RuntimeError: no prompt today"
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.exception
    assert set(read(tmp_path / "out")[0].values()) == {"complete"}


def test_an_error_of_the_accelerator_ends_the_command_and_repeated_it_goes_on(tmp_path, monkeypatch):
    """All that CUDA is asked afterwards would fail, and every later cell with it."""

    def fail(self, context):
        try:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be ...")
        except RuntimeError as error:
            raise ValueError("no answer") from error

    methods = ["--methods", "instruct,constant,llm_rec", "--tasks", "lamp3", "--users", "2"]
    asked = ["compare", *methods, "--out", str(tmp_path), "--wandb", "disabled"]
    with monkeypatch.context() as patch:
        patch.setattr(Constant, "fit", fail)
        told = CliRunner().invoke(app, asked).exception
    assert "constant on lamp3, seed 0, ended with an error of the accelerator" in str(told)
    assert "run the same command again" in str(told)
    found = {record.spec.label: record.status for record in Store(tmp_path).records()}
    assert found == {"instruct": "complete", "constant": "failed"}
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert set(read(tmp_path)[0].values()) == {"complete"}


@pytest.mark.parametrize("part", ["load", "load_embedder"])
def test_an_error_of_the_accelerator_before_any_cell_is_told_as_one(part, tmp_path, monkeypatch):
    """It may have been taken for something else on its way, such as a model's folder that is not complete."""

    def fail(*_):
        try:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be ...")
        except RuntimeError as error:
            raise HarnessError("Check that the folder is complete.") from error

    monkeypatch.setattr(experiment, part, fail)
    asked = ["compare", "--methods", "instruct", "--tasks", "lamp3", "--users", "2", "--wandb", "disabled"]
    told = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")]).exception
    assert isinstance(told, HarnessError)
    assert "an error of the accelerator" in str(told)
    assert "(AcceleratorError: CUDA error: device-side assert triggered)" in str(told)
    assert "run the same command again" in str(told)
    assert "folder" not in str(told)


def test_an_embedder_that_cannot_be_had_is_refused_before_the_model_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "load", lambda *_: pytest.fail("loaded"))
    spec = RunSpec(
        methods=parse_methods("instruct"),
        tasks=("lamp3",),
        budget=1,
        model="tiny-llama",
        data="synthetic",
        embedder="nobody/nothing",
        users=2,
    )
    with pytest.raises(HarnessError, match="Cannot load the sentence embedder 'nobody/nothing'"):
        run(spec, tmp_path / "out")


def read(out):
    """The status and the reason of each method, of what is below `out`."""
    rows = [row for path in out.rglob("comparison.json") for row in read_comparison(path.parent).rows]
    return {row.label: row.status for row in rows}, {row.label: row.reason for row in rows}
