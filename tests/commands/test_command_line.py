"""The command line: help that comes at once, and a clear paragraph with exit status 2 for what it cannot do."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.registry import CONTROLS, METHODS, MODELS, method_class, preset
from tests.forking import command_line, forked

HARNESS = [sys.executable, "-c", "from harness.commands.app import main; main()"]
SMALL = [
    "compare",
    "--methods",
    "instruct",
    "--tasks",
    "lamp3",
    "--budget",
    "600s",
    "--users",
    "2",
    "--wandb",
    "disabled",
]


def program(*arguments, **environment):
    """A command in a process of its own."""
    command, environment = [*HARNESS, *arguments], {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


def harness(*arguments):
    """A command in this process, as importing torch takes longer than most commands."""
    return CliRunner().invoke(app, arguments)


def refusal(*arguments):
    """What a command that cannot run says."""
    result = harness(*arguments)
    assert isinstance(result.exception, HarnessError), result.output
    return str(result.exception)


def lamp3(folder, **changes):
    """A LaMP-3 directory with two good questions, changed as asked."""
    stem = "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 "
    profile = [{"id": f"p{n}", "text": f"an item {n}", "score": str(n)} for n in range(1, 5)]
    questions = [
        {"id": str(n), "input": f"{stem}without further explanation. review: text {n}", "profile": profile}
        for n in range(2)
    ]
    golds = {"task": "LaMP_3", "golds": [{"id": "0", "output": "3"}, {"id": "1", "output": "4"}]}
    place = folder / "LaMP_3"
    place.mkdir(parents=True)
    (place / "dev_questions.json").write_bytes(changes.get("questions") or json.dumps(questions).encode())
    (place / "dev_outputs.json").write_bytes(changes.get("outputs") or json.dumps(golds).encode())
    return folder


@pytest.mark.parametrize("command", [[], ["compare"], ["report"], ["inspect"], ["models", "train"], ["data", "check"]])
def test_help_says_what_a_command_does(command):
    result = program(*command, "--help")
    assert result.returncode == 0
    assert "Usage:" in result.stdout


def test_the_version_is_that_of_the_installed_distribution():
    result = harness("--version")
    assert (result.exit_code, result.stdout) == (0, f"harness {version('personalization-harness')}\n")
    assert "harness compare --methods all" in harness("--help").stdout


@pytest.mark.parametrize(("listing", "name"), [("methods", "chameleon"), ("tasks", "lamp7"), ("models", "tiny-llama")])
def test_listings_come_as_text_and_as_json(listing, name):
    assert name in harness(listing).stdout
    assert name in [row["name"] for row in json.loads(harness(listing, "--json").stdout)]


def test_the_settings_of_a_method_are_listed_with_their_defaults_and_values():
    listed = harness("methods", "chameleon").stdout
    assert "`group_size`: users whose pairs form one direction" in listed
    assert re.search(r"^edit +both \| personalized \| neutral +both$", listed, re.MULTILINE)
    assert re.search(r"^group_size +integer \| null +null$", listed, re.MULTILINE)
    assert re.search(r'^ccs +object +{"restarts":10,.*}$', listed, re.MULTILINE)
    schema = json.loads(harness("methods", "chameleon", "--json").stdout)
    assert set(schema["properties"]) == set(method_class("chameleon").Config.model_fields)
    assert all(harness("methods", name).exit_code == 0 for name in [*METHODS.names(), *CONTROLS.names()])
    assert "Did you mean chameleon" in refusal("methods", "chamelon")


def test_presets_come_whole_as_json():
    found = json.loads(harness("presets", "--json").stdout)
    assert set(found) >= {"tiny", "small", "paper-mistral", "paper-flan-t5"}
    assert found == {name: preset(name) for name in found}


def test_an_embedded_model_is_fetched_where_it_is():
    result = harness("models", "fetch", "tiny-llama", "tiny-t5")
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines() == [f"{name}: {MODELS.get(name)}" for name in ("tiny-llama", "tiny-t5")]
    assert all((MODELS.get(name).folder / "config.json").exists() for name in ("tiny-llama", "tiny-t5"))


def test_a_dry_run_lists_the_cells_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = harness("compare", "--dry-run", "--methods", "instruct,rag", "--tasks", "lamp2,lamp3", "--seeds", "0,1")
    assert result.exit_code == 0
    assert "2 methods x 2 tasks x 2 seeds = 8 cells" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_data_that_the_run_would_refuse(tmp_path):
    asked = ("--data", str(lamp3(tmp_path / "data", questions=b"[{]")), "--out", str(tmp_path / "out"))
    assert refusal(*SMALL, *asked, "--dry-run") == refusal(*SMALL, *asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "chamelon"], "Did you mean chameleon"),
        (["--tasks", "lamp33"], "Did you mean lamp3"),
        (["--preset", "tinny"], "Did you mean tiny"),
        (["--set", "chameleon.num_layer=2", "--methods", "chameleon"], "Did you mean num_layers"),
        (["--budget", "soon"], "Cannot read the budget 'soon'"),
        (["--seeds", "0,x"], "Cannot read the seeds"),
        (["--wandb", "sometimes"], "offline"),
        (["--regime", "both"], "regime"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--model", "no/such/model/here"], "no/such/model/here"),
        (["--model", "./nowhere"], "no model folder nowhere"),
        (["--model", "someone/some-model"], "someone/some-model"),
        (["--device", "cuda:7"], "cuda"),
        (["--dtype", "float3"], "float3"),
    ],
)
def test_a_bad_request_is_one_paragraph_and_writes_nothing(tmp_path, arguments, message):
    told = refusal(*SMALL, *arguments, "--out", str(tmp_path / "out"))
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.json"))


def test_a_refusal_is_printed_alone_with_status_2(tmp_path):
    with forked(command_line, *SMALL, "--model", "./nowhere", "--out", str(tmp_path / "out"), cwd=tmp_path) as process:
        assert process.wait(240) == 2
        assert process.stderr.startswith("Error: There is no model folder nowhere")
        assert len(process.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": b'[{"id": "1", "input": "caf\xe9"}]'}, "UTF-8"),
        ({"questions": b"[{]"}, "JSON"),
        ({"outputs": b'{"task": "LaMP_2", "golds": []}'}, "LaMP_2"),
        ({"outputs": b'{"task": "LaMP_3", "golds": [{"id": "9", "output": "1"}]}'}, "id"),
    ],
)
def test_unusable_data_is_named_with_its_file(tmp_path, changes, message):
    told = refusal(*SMALL, "--data", str(lamp3(tmp_path / "data", **changes)), "--out", str(tmp_path / "out"))
    assert message in told
    assert "dev_" in told


def test_a_malformed_record_is_skipped_counted_and_named(tmp_path):
    bad = json.loads((lamp3(tmp_path / "made") / "LaMP_3" / "dev_questions.json").read_text())
    huge = {"id": "huge", "text": "word " * 2_000_000, "score": "2"}
    records = [*bad, {"id": "odd"}, {**bad[0], "id": "0"}, {**bad[0], "id": "big", "profile": [huge]}]
    outputs = {"task": "LaMP_3", "golds": [{"id": str(n), "output": "3"} for n in ("0", "1", "odd", "big")]}
    data = lamp3(tmp_path / "data", questions=json.dumps(records).encode(), outputs=json.dumps(outputs).encode())
    out = tmp_path / "out"
    result = harness(*SMALL, "--users", "10", "--data", str(data), "--out", str(out))
    assert result.exit_code == 0, result.output
    (row,) = json.loads((out / "comparison.json").read_text())["rows"]
    assert row["queries"] == 3
    assert row["records_skipped"] == 2
    assert "odd" in result.stdout
    check = harness("data", "check", str(data))
    assert check.exit_code == 1
    assert "record odd" in check.stdout


def test_report_and_inspect_read_what_compare_wrote(tmp_path):
    out = tmp_path / "out"
    assert harness(*SMALL, "--out", str(out)).exit_code == 0
    (out / "comparison.md").unlink()
    assert harness("report", str(out)).exit_code == 0
    assert (out / "comparison.md").exists()
    query = json.loads((out / "comparison.json").read_text())["rows"][0]
    assert query["queries"] == 4
    answered = pd.read_parquet(next(out.glob("cells/*/*/*/samples.parquet"))).iloc[0]
    inspected = harness("inspect", str(out), "--query", str(answered["query_id"]))
    assert inspected.exit_code == 0
    assert str(answered["gold"]) in inspected.stdout
    assert "nobody" in refusal("inspect", str(out), "--query", "nobody")
    assert "elsewhere" in refusal("report", str(tmp_path / "elsewhere"))


def test_tasks_validate_passes_for_the_registered_tasks():
    result = harness("tasks", "validate")
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count(": valid") >= 3
    assert "not checked: lamp4: there is no synthetic data" in result.stdout


def test_a_plugin_whose_commands_cannot_be_imported_costs_only_those(tmp_path):
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[harness.commands]\nbroken = no_such_module:app\n")
    done = program("presets", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0
    assert "tiny" in done.stdout
    assert "no_such_module:app" in done.stderr


def test_a_terminal_that_cannot_show_a_character_ends_no_command():
    script = "import sys; from harness.commands.app import main; sys.argv = ['harness', '--version']\ntry: main()\n"
    script += "except SystemExit: print('MAE \\u2193')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert ended.stdout.splitlines()[-1] == "MAE ?", ended.stderr
