"""A killed comparison, repeated, ends as an undisturbed one does; `benchmarks/crash_test.py` has random moments."""

import os
import signal
import sys

import pytest

from benchmarks.crash_test import differences
from harness import compare
from tests.forking import command_line, forked

pytestmark = pytest.mark.thorough

CELLS = {"methods": "instruct,user_majority", "tasks": "lamp3", "users": 2}
COMMAND = ["compare", "--methods", CELLS["methods"], "--tasks", "lamp3", "--users", "2", "--budget", "20m"]


def dying() -> None:
    """The command line, which dies instead of putting a file of this name into its place for the n-th time.

    No moment of the machine's decides.
    """
    name, left = sys.argv.pop(1), int(sys.argv.pop(1))

    def kill(event, arguments):
        nonlocal left
        if event == "os.rename" and os.fspath(arguments[1]).endswith(name):
            left -= 1
            if not left:
                os.killpg(os.getpgrp(), signal.SIGKILL)

    sys.addaudithook(kill)
    command_line()


def run(out, target, *arguments):
    with forked(target, *arguments, *COMMAND, "--wandb", "disabled", "--out", str(out), cwd=out.parent) as process:
        return process.wait(240), process.stdout


def test_two_kills_and_the_same_command_end_in_what_an_undisturbed_run_gives(tmp_path):
    compare(**CELLS, budget="20m", out=tmp_path / "undisturbed")
    out = tmp_path / "disturbed"
    assert run(out, dying, "cell.json", "2")[0] == -signal.SIGKILL  # one cell finished, another answered
    assert len(list(out.rglob("cell.json"))) == 1
    assert run(out, dying, "comparison.json", "1")[0] == -signal.SIGKILL  # all cells finished, nothing compared
    status, said = run(out, command_line)
    assert status == 0
    assert said.count("reused") == 2
    assert differences(tmp_path / "undisturbed", out) == []
