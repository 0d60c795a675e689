"""One run in a folder at a time: the second is told, and a dead one is in nobody's way."""

import os
import signal
import subprocess
import sys

import pytest

from harness.api import HarnessError
from harness.results.locking import alone, is_trace

HOLD = "import sys, time; from pathlib import Path; from harness.results.locking import alone\n"
HOLD += "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(60)


def test_the_second_is_told_which_process_has_the_folder_since_when(tmp_path, holder):
    said = rf"in use by another run \(process {holder.pid} on \S+ since \d{{4}}-\d\d-\d\d .*\).*another --out"
    with pytest.raises(HarnessError, match=said), alone(tmp_path):
        pytest.fail("held twice")


def test_a_run_that_was_killed_blocks_nobody(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    assert f"process {holder.pid}" in (tmp_path / "run.lock.txt").read_text()
    with alone(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "run.lock.txt").read_text()


def test_a_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), alone(tmp_path):
        raise KeyError
    with alone(tmp_path), pytest.raises(HarnessError, match="in use"), alone(tmp_path):
        pytest.fail("held twice")


def test_the_lock_stays_where_something_was_written_and_goes_where_nothing_was(tmp_path):
    for folder in (tmp_path / "empty", tmp_path / "used"):
        with alone(folder):
            if folder.name == "used":
                (folder / "run.json").write_text("{}")
    assert {path.name for path in (tmp_path / "used").iterdir() if not is_trace(path)} == {"run.json"}
    assert not (tmp_path / "empty").exists()


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot hold results"), alone(tmp_path / "file" / "out"):
        pytest.fail("held a file")
