"""A killed comparison, repeated, ends as an undisturbed one does; `benchmarks/crash_test.py` has random moments."""

import os
import signal
import subprocess
import sys

from benchmarks.crash_test import differences
from harness import compare

CELLS = {"methods": "instruct,user_majority", "tasks": "lamp3", "users": 2}
COMMAND = ["compare", "--methods", CELLS["methods"], "--tasks", "lamp3", "--users", "2", "--budget", "20m"]
# Dies instead of putting this file into its place for the n-th time: no moment of the machine's decides.
DYING = """
import os, signal, sys
name, left = sys.argv.pop(1), int(sys.argv.pop(1))

def kill(event, arguments):
    global left
    if event == "os.rename" and os.fspath(arguments[1]).endswith(name):
        left -= 1
        if not left:
            os.killpg(os.getpgrp(), signal.SIGKILL)

sys.addaudithook(kill)
from harness.commands.app import main
main()
"""


def run(out, *dying_at):
    command = [sys.executable, "-c", DYING, *map(str, dying_at), *COMMAND, "--wandb", "disabled", "--out", str(out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, start_new_session=True)


def test_two_kills_and_the_same_command_end_in_what_an_undisturbed_run_gives(tmp_path):
    compare(**CELLS, budget="20m", out=tmp_path / "undisturbed")
    out = tmp_path / "disturbed"
    assert run(out, "cell.json", 2).returncode == -signal.SIGKILL  # one cell finished, another answered
    assert len(list(out.rglob("cell.json"))) == 1
    assert run(out, "comparison.json", 1).returncode == -signal.SIGKILL  # all cells finished, nothing compared
    done = run(out, "no such file", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reused") == 2
    assert differences(tmp_path / "undisturbed", out) == []
