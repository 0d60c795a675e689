"""What the README shows works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forking import forked

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language, containing):
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The example as a package, installed by pip without a network."""
    source, site = tmp_path_factory.mktemp("reminder"), tmp_path_factory.mktemp("site")
    (source / "reminder.py").write_text(block("python", "class Reminder"))
    (source / "pyproject.toml").write_text(block("toml", "reminder"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(site), str(source)], check=True, timeout=240)
    return {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}


def run(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=240).stdout


def test_the_example_method_is_listed_with_its_docstring(environment):
    listed = run(environment, sys.executable, "-c", "from harness.commands.app import main; main()", "methods")
    assert re.search(r"reminder +method +Reminds the model of its user\.", listed)


def conforms():
    """For a process that has the example on its path."""
    from harness.registry import METHODS
    from harness.testing import check_method

    check_method(METHODS.get("reminder"), {"note": "Be brief."}, shares_users=False)
    print("conforms")


def test_the_example_method_passes_the_conformance_suite(environment, tmp_path):
    with forked(conforms, cwd=tmp_path, environment=environment) as process:
        assert process.wait(240) == 0, process.stderr
        assert process.stdout.strip() == "conforms"


def test_the_commands_of_the_readme_exist():
    from typer.main import get_command

    from harness.commands.app import app
    from harness.registry import COMMANDS

    known = {*get_command(app).commands, *COMMANDS.names()}
    used = set(re.findall(r"^\$ harness (\w+)", README, re.MULTILINE)) | set(re.findall(r"`harness (\w+)", README))
    assert {"compare", "report", "inspect"} <= used
    assert used <= known


def metrics():
    """The example for a process that is told in which folder `evaluate` may write."""
    import evaluate

    evaluate.config.HF_MODULES_CACHE = evaluate.config.HF_METRICS_CACHE = sys.argv[1]
    sys.path.insert(0, sys.argv[1])
    exec(compile(block("python", "evaluate.load"), "README.md", "exec"), {})


def test_the_metrics_example_prints_what_it_says(tmp_path):
    said = block("python", "evaluate.load").rpartition("# ")[2].strip()
    with forked(metrics, str(tmp_path), cwd=ROOT) as process:
        assert process.wait(240) == 0, process.stderr
        assert process.stdout.strip() == said


def test_the_library_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block("python", "from harness import compare").replace("users=50", "users=3")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "library" / "comparison.md").exists()
