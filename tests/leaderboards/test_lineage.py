"""Data, run and leaderboard in W&B: each artifact names what it was made from."""

import json

from typer.testing import CliRunner

from harness.api import HarnessError
from harness.leaderboards.commands.leaderboard import app
from harness.reporting.tracking import track
from tests import fabricate
from tests.wandb_files import records, wait_for_exit


def test_a_record_names_the_comparison_that_was_logged_and_that_names_its_data(tmp_path):
    store = fabricate.filled(tmp_path / "run", {"instruct": 0.3, "dpo": 0.9})
    comparison = fabricate.compare(store)
    (store.root / "comparison.json").write_text(comparison.model_dump_json())
    track(comparison, store.root, "offline")
    wait_for_exit(store.root)
    logged = {artifact.type: artifact for artifact in records(store.root, "artifact")}
    arguments = ["add", str(store.root), "--records", str(tmp_path / "records"), "--wandb", "offline"]
    (tmp_path / "second").mkdir()
    (store.root / "wandb").rename(tmp_path / "second" / "wandb")

    added = CliRunner().invoke(app, arguments)

    assert added.exit_code == 0, added.output
    wait_for_exit(store.root)
    (record,) = records(store.root, "artifact")
    assert (record.type, json.loads(record.metadata)["comparison"]) == ("leaderboard", logged["comparison"].name)
    assert json.loads(logged["comparison"].metadata)["data"] == [logged["dataset"].name]
    assert [entry.path for entry in record.manifest.contents] == [
        f"{path.name}" for path in (tmp_path / "records").iterdir()
    ]


def test_what_wandb_refuses_of_one_record_keeps_no_other_from_being_written_and_logged(run, tmp_path, monkeypatch):
    asked = []

    def refuse(record, folder, mode):
        asked.append((folder.name, len(list(record.parent.iterdir()))))
        if folder.name != "second":
            raise HarnessError(f"no {folder.name} today")

    monkeypatch.setattr("harness.leaderboards.lineage.log_record", refuse)
    folders = [run(name, users=number + 1) for number, name in enumerate(("first", "second", "third"))]
    done = CliRunner().invoke(app, ["add", *map(str, folders), "--records", str(tmp_path / "records")])
    assert asked == [("first", 3), ("second", 3), ("third", 3)]
    assert isinstance(done.exception, HarnessError)
    assert str(done.exception) == "no first today\nno third today"
