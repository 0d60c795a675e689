"""Every place that a command is given: a file, a full disk, a `~`, and characters that a terminal's markup has."""

import errno
import functools
import os
import sys
import typing
from pathlib import Path

import pytest
import typer

from harness import compare
from harness.commands import app as command_line
from harness.results.store import Store
from tests import fabricate

ROOT = Path(__file__).parents[2]
SMALL = {"methods": "instruct", "tasks": "lamp3", "users": 2}
COMPARE = ["compare", "--methods", "instruct", "--tasks", "lamp3", "--users", "2", "--wandb", "disabled"]
SWEEP = "parameters: {methods: {value: instruct}, tasks: {value: lamp3}, users: {value: 2}, history: {values: [1, 2]}}"


add_commands = functools.cache(command_line._add_commands)  # a process does it once


@pytest.fixture
def harness(monkeypatch, capfd):
    """The command line in this process: (status, stdout, stderr)."""

    monkeypatch.setattr(command_line, "_add_commands", add_commands)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return (ended.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.parametrize(
    "arguments",
    [
        [*COMPARE, "--out", "file"],
        [*COMPARE, "--out", "file/below"],
        ["sweep", "sweep.yaml", "--wandb", "disabled", "--out", "file"],
        ["run", "--methods=instruct", "--tasks=lamp3", "--wandb", "disabled", "--out", "file"],
        ["reproduce", "figure5", "--users", "2", "--out", "file"],
        ["reproduce", "figure5", "--users", "2", "--docs", "file"],
        ["check", "--baseline", "file/ci.json", "--update", "--methods", "instruct", "--tasks", "lamp3"],
        ["models", "train", "tiny-llama", "--out", "file"],
        ["data", "fetch", "lamp3", "--base-url", "http://127.0.0.1:9", "--out", "file"],
        ["leaderboard", "build", "--records", ROOT / "leaderboards" / "records", "--out", "file"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:3])),
)
def test_a_file_in_place_of_a_folder_is_one_line_before_any_work(harness, home, arguments):
    Path("file").write_text("mine")
    Path("sweep.yaml").write_text(SWEEP)
    status, _, told = harness(*arguments)
    assert status == 2
    [line] = [line for line in told.splitlines() if line.startswith("Error")]
    assert line.endswith("file is a file; name a folder.")
    assert "Traceback" not in told
    assert Path("file").read_text() == "mine"
    assert {path.name for path in Path().iterdir()} == {"file", "sweep.yaml"}


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(harness, home, monkeypatch):
    replace = os.replace

    def full(source, target):
        if Path(target).name == "comparison.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        status, _, told = harness(*COMPARE, "--out", "out")
    assert status == 2
    assert "the disk is full" in told
    assert "repeat the command" in told
    assert "Traceback" not in told
    status, printed, _ = harness(*COMPARE, "--out", "out")
    assert status == 0
    assert "reused" in printed


def test_a_tilde_is_home_for_the_library_and_for_every_command(harness, home):
    compare(**SMALL, out="~/runs/x")
    assert (home / "runs" / "x" / "comparison.json").exists()
    query = Store(home / "runs" / "x").samples(next(iter(Store(home / "runs" / "x").records())).spec)["query_id"][0]
    assert harness("report", "~/runs/x")[0] == 0
    assert harness("inspect", "~/runs/x", "--query", query)[0] == 0
    assert harness("leaderboard", "add", "~/runs/x", "--records=~/records")[0] == 0
    assert harness("leaderboard", "build", "--records=~/records", "--out=~/site")[0] == 0
    assert harness(*COMPARE, "--out=~/runs/y")[0] == 0
    assert {path.name for path in home.iterdir()} >= {"runs", "records", "site"}
    assert {path.name for path in (home / "runs").iterdir()} == {"x", "y"}
    assert list(Path().iterdir()) == []


def test_the_tilde_of_a_user_who_is_not_known_is_a_folder_of_that_name(harness, home):
    status, _, told = harness(*COMPARE, "--model", "~nobody-of-that-name/m", "--out", "out")
    assert (status, "There is no model folder ~nobody-of-that-name/m." in told) == (2, True)


def test_experiments_take_a_folder_of_data(harness, home):
    status, printed, told = harness("reproduce", "figure5", "--data=~/lamp", "--users", "2", "--dry-run")
    assert status == 0, told
    assert "figure5" in printed


def test_no_command_has_a_path_in_which_a_tilde_is_anything_but_home(home):
    add_commands()
    seen = 0
    for name, command in walk(typer.main.get_command(command_line.app)):
        hints = typing.get_type_hints(command.callback) if command.callback else {}
        for parameter in command.params:
            hint = hints.get(parameter.name)
            if hint is Path or Path in typing.get_args(hint):
                seen += 1
                several = parameter.nargs == -1
                read = parameter.process_value(typer.Context(command), ("~/x",) if several else "~/x")
                assert (read[0] if several else read) == home / "x", f"{name} {parameter.name}"
    assert seen >= 15


def walk(command, name="harness"):
    yield name, command
    for inner, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{name} {inner}")


def test_what_reads_as_markup_in_a_path_is_printed_as_it_is(harness, home):
    odd = "a[red]b[/nope] :smile: \\"
    status, printed, told = harness(*COMPARE, "--out", odd)
    assert status == 0, told
    assert f"records: {odd}\n" in printed
    status, printed, _ = harness(*COMPARE, "--out", odd)
    assert status == 0
    assert f"Going on in {odd}:" in printed
    status, _, told = harness("report", f"{odd}/cells")
    assert (status, odd in told) == (2, True)


def test_a_run_that_the_folder_cannot_take_is_not_said_to_go_on_there(harness, home):
    status, printed, told = harness(*COMPARE, "--out", "out")
    assert status == 0, told
    status, printed, told = harness(*COMPARE, "--users", "3", "--out", "out")
    assert (status, "out holds the results of another specification" in told) == (2, True)
    assert "Going on" not in printed


def test_a_path_in_an_error_steers_no_terminal(harness, home):
    status, _, told = harness("report", "a\x1b[2Jb")
    assert (status, "a [2Jb" in told, "\x1b" in told) == (2, True, False)


def unwritable_run(folder):
    """A run whose comparison.csv cannot be written, as a folder has its place."""
    run = fabricate.store(Path(folder), fabricate.run_spec("instruct"))
    run.write(fabricate.record("lamp2", "instruct", None, status="failed"), None)
    (run.root / "comparison.csv").mkdir()
    return run.root


def test_a_path_in_an_error_of_the_system_steers_no_terminal(harness, home):
    status, _, told = harness("report", unwritable_run("a\x1b[2Jb"))
    assert (status, "a [2Jb/.comparison.csv" in told, "\x1b" in told) == (2, True, False)


def test_a_report_that_cannot_be_written_is_printed_all_the_same(harness, home):
    status, printed, told = harness("report", unwritable_run("run"))
    assert (status, "run/.comparison.csv" in told, "lamp2: scores" in printed) == (2, True, True)


def test_wandb_mode_decides_where_the_option_is_not_given(harness, home, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert harness(*COMPARE[:-2], "--out", "quiet")[0] == 0
    assert not Path("quiet/wandb").exists()
    Path("sweep.yaml").write_text(SWEEP)
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    for arguments in ([*COMPARE[:-2], "--out", "quiet"], ["sweep", "sweep.yaml"], ["reproduce", "figure5"]):
        status, _, told = harness(*arguments)
        assert (status, "Unknown W&B mode 'sometimes'" in told) == (2, True)
    assert harness(*COMPARE, "--out", "quiet")[0] == 0
