"""W&B's side: faults are told before the work, offline is offline, and what fails at the end costs no results."""

import os
import queue
import socket
import subprocess
import sys
import threading
from functools import partial

import pytest

from harness.api import HarnessError
from harness.reporting.wandb_session import require_mode

KEY = "0" * 40
LOG = """
import sys
from pathlib import Path
from harness.reporting.wandb_session import log_run, require_mode
mode = require_mode(sys.argv[1]) if sys.argv[1] == "offline" else sys.argv[1]
log_run(Path("out"), mode, {"seeds": 1}, lambda run: run.log({"mae": 1.0}))
"""


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """No account, no settings but a test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MODE", "API_KEY", "PROJECT", "ENTITY", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


def log(mode, folder, **environment):
    """Log a run in a process of its own, where W&B has read no settings yet."""
    given = {**os.environ, **environment}
    command = [sys.executable, "-c", LOG, mode]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=240)


def test_an_unknown_mode_is_refused_and_the_names_of_wandb_mode_are_known():
    with pytest.raises(HarnessError, match="disabled, offline, online"):
        require_mode("sometimes")
    assert [require_mode(name) for name in ("disabled", "offline", "dryrun")] == ["disabled", "offline", "offline"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_PROJECT", "group/project"),
        ("WANDB_PROJECT", "x" * 200),
        ("WANDB_ENTITY", "group/project"),
        ("WANDB_ENTITY", "two words"),
        ("WANDB_BASE_URL", "no address"),
        ("WANDB_RUN_ID", "a/b"),
    ],
)
def test_a_name_that_wandb_refuses_is_found_before_the_work_unless_it_is_disabled(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(HarnessError, match="WANDB_") as told:
        require_mode("offline")
    assert "\n" not in str(told.value)
    assert require_mode("disabled") == "disabled"


def test_online_without_a_key_says_what_to_do():
    with pytest.raises(HarnessError, match=r"wandb login.*--wandb offline"):
        require_mode("online")


@pytest.mark.parametrize("key", [KEY, "tooshort"])
def test_online_with_a_bad_key_or_no_network_says_what_to_do(monkeypatch, key):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(HarnessError, match=r"did not accept the key, or cannot be reached: .*--wandb offline") as told:
        require_mode("online")
    assert "\n" not in str(told.value)


def test_an_offline_run_connects_to_nothing(tmp_path):
    seen = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                seen.put(peer)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
        done = log("offline", tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY=KEY, NO_PROXY="", no_proxy="", **proxies)
        with socket.create_connection(server.getsockname()) as last:  # accepted after all that came before it
            asked = list(iter(partial(seen.get, timeout=60), last.getsockname()))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("out/wandb/offline-run-*/run-*.wandb"))
    assert asked == []


def test_a_run_that_the_server_does_not_take_is_kept_offline_and_named(tmp_path):
    done = log("online", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=KEY, WANDB_INIT_TIMEOUT="3")
    assert done.returncode == 0, done.stderr
    [folder] = tmp_path.glob("out/wandb/offline-run-*")
    assert f"`wandb sync {folder}`" in done.stderr
    assert "The results are complete in out." in done.stderr


def test_a_name_refused_only_at_the_end_costs_no_results(tmp_path):
    done = log("online", tmp_path, WANDB_PROJECT="a/b", WANDB_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "W&B did not take the run: Invalid project name" in done.stderr
