"""The official addresses, and the command that fetches from them or from a mirror."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.tasks.fetch.official import BASE_URL, RemoteFile, official_files
from harness.tasks.lamp import Lamp3
from tests.tasks.made import outputs, question
from tests.tasks.serving import Site


def test_official_addresses_become_the_layout_that_is_read() -> None:
    assert official_files("lamp3", "dev", "user") == [
        RemoteFile(f"{BASE_URL}/LaMP_3/dev/dev_questions.json", "LaMP_3/dev_questions.json"),
        RemoteFile(f"{BASE_URL}/LaMP_3/dev/dev_outputs.json", "LaMP_3/dev_outputs.json"),
    ]
    [questions, _] = official_files("lamp2", "train", "time", "http://mirror/LaMP/")
    assert questions == RemoteFile(
        "http://mirror/LaMP/time/LaMP_2/new/train/train_questions.json", "time/LaMP_2/train_questions.json"
    )


def test_licensed_and_unknown_tasks_are_refused() -> None:
    with pytest.raises(HarnessError, match="LDC2015T03"):
        official_files("lamp6", "dev", "user")
    with pytest.raises(HarnessError, match=r"no task 'lamp8'\. Known: lamp1"):
        official_files("lamp8", "dev", "user")


def harness(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.commands.app import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=240)


def test_the_command_fetches_what_a_run_reads(site: Site, tmp_path: Path) -> None:
    for top in ("", "/time"):
        site.files[f"{top}/LaMP_3/dev/dev_questions.json"] = json.dumps([question("lamp3")]).encode()
        site.files[f"{top}/LaMP_3/dev/dev_outputs.json"] = json.dumps(outputs("lamp3")).encode()
    result = harness("data", "fetch", "lamp3", "--out", str(tmp_path / "lamp"), "--base-url", site.url)
    assert result.returncode == 0, result.stderr
    assert "LaMP_3/dev_outputs.json: downloaded" in result.stdout
    assert Lamp3().load(str(tmp_path / "lamp"), "dev").separation == "user"
    by_time = ("data", "fetch", "lamp3", "--out", str(tmp_path / "lamp"), "--separation", "time")
    assert harness(*by_time, LAMP_BASE_URL=site.url).returncode == 0
    assert Lamp3().load(str(tmp_path / "lamp" / "time"), "dev").separation == "time"


def test_the_commands_of_the_engine_and_of_the_tasks_stand_side_by_side(tmp_path: Path) -> None:
    listed = harness("data", "--help").stdout
    assert "check" in listed
    assert "fetch" in listed
    result = harness("data", "fetch", "lamp3", "--split", "test", "--out", str(tmp_path))
    assert (result.returncode, "not public" in result.stderr) == (2, True)
