"""The workflows are YAML whose commands a shell understands and whose files and options exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from harness.commands.app import app

ROOT = Path(__file__).parents[2]
WORKFLOWS = [ROOT / ".github" / "workflows" / "tests.yml", ROOT / "docs" / "personalization-gate.yml"]


def steps(path):
    (job,) = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    return job, [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_the_gate_with_options_that_exist(path):
    job, commands = steps(path)
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=60)
    (gate,) = [command for command in commands if "harness check" in command]
    known = {option for parameter in get_command(app).commands["check"].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z]+", gate)) <= known
    assert "set -o pipefail" in gate, "without it the status is that of tee"
    assert job["env"]["HF_HUB_OFFLINE"] == "1"


def test_this_repositorys_workflow_names_files_that_exist():
    _, commands = steps(WORKFLOWS[0])
    assert {"make test", "make test-thorough"} <= set(commands)
    (baseline,) = re.findall(r"--baseline (\S+)", "\n".join(commands))
    assert (ROOT / baseline).is_file()
