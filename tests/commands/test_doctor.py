"""`harness doctor`: what it shows, and its estimate of a comparison."""

import pytest
from typer.testing import CliRunner

from harness.commands import terminal
from harness.commands.app import app
from harness.reproduction import reproducing
from harness.results import crowding
from harness.sweeps import sweeping
from tests import fabricate

ASKED = ["doctor", "--methods", "instruct,constant", "--tasks", "lamp3", "--users", "20", "--budget", "60s"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.console, "_width", 150)
    return tmp_path


def test_it_shows_the_machine_the_packages_and_the_models_and_writes_nothing(folder):
    result = CliRunner().invoke(app, ASKED)
    assert result.exit_code == 0, result.output
    for shown in (
        "load average",
        "torch threads",
        "linear algebra",
        "memory",
        "transformers",
        "tiny-llama",
        "2 cells: at most 2 min of fitting",
    ):
        assert shown in result.output
    assert "a first run of tiny-llama" in result.output
    assert list(folder.iterdir()) == []


@pytest.fixture
def timed(folder):
    """A run under runs/, by which answering takes 80 s."""
    store = fabricate.store(folder / "runs" / "first", fabricate.run_spec("instruct"))
    frame = fabricate.samples("lamp2", 0.5)
    record = fabricate.record("lamp2", "instruct", frame).model_copy(update={"users": 40, "eval_seconds": 80})
    store.write(record, frame)
    return store.cell_dir(record.spec)


def test_answering_is_estimated_from_the_last_run_of_the_model(timed):
    result = CliRunner().invoke(app, ASKED)
    assert "at most 2 min of fitting, and about 1 min 20 s of answering" in result.output


def test_runs_and_cells_that_cannot_be_read_are_passed_over_by_the_estimate(folder, timed):
    damaged = {timed.parent / "seed-9-cut" / "cell.json": "{", folder / "runs" / "old" / "run.json": '{"spec": 1}'}
    for path, text in damaged.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    result = CliRunner().invoke(app, ASKED)
    assert result.exit_code == 0, result.output
    assert "about 1 min 20 s of answering" in result.output


def test_a_command_warns_before_the_work_where_threads_do_not_fit(monkeypatch):
    monkeypatch.setattr(crowding, "load_average", lambda: 1000.0)
    for threads, warned in ((1, False), (2, True)):
        monkeypatch.setattr(crowding.torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(crowding.torch.cuda, "is_available", lambda: False)
        with terminal.console.capture() as captured:
            terminal.warn_if_crowded()
        assert ("OMP_NUM_THREADS=1" in captured.get()) == warned


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (["run", "--methods=instruct", "--tasks=lamp3"], (sweeping, "run_one")),
        (["reproduce", "table1"], (reproducing, "run_reproduce")),
    ],
)
def test_commands_that_compute_cells_warn_of_a_busy_machine(command, work, folder, monkeypatch):
    monkeypatch.setattr(crowding, "crowding_here", lambda: "threads do not fit")
    monkeypatch.setattr(*work, lambda *_: 0)
    assert "Warning: threads do not fit" in CliRunner().invoke(app, command).output


def test_a_rebuilt_page_is_not_warned_of_a_busy_machine(folder, monkeypatch):
    monkeypatch.setattr(crowding, "crowding_here", lambda: "threads do not fit")
    monkeypatch.setattr(reproducing, "run_reproduce", lambda *_: 0)
    assert "do not fit" not in CliRunner().invoke(app, ["reproduce", "table1", "--rebuild"]).output
