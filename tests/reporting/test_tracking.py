"""The W&B run, made offline and read back from its file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from harness.reporting.comparison_report import write
from harness.reporting.tracking import track
from harness.running.checkpoints import Anytime, Point
from tests.fabricate import compare, filled, record, run_spec, samples, store
from tests.wandb_files import records, wait_for_exit


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that was tracked offline, without an account and with no home to write to."""
    out = tmp_path_factory.mktemp("run")
    comparison = compare(filled(out, {"instruct": 0.3, "dpo": 0.9}, ("lamp2", "lamp3")))
    write(comparison, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(out / "home"))
        patch.delenv("WANDB_API_KEY", raising=False)
        track(comparison, out, "offline")
        assert not [name for name in os.environ if name.startswith("WANDB_") and name.endswith("_DIR")]
    wait_for_exit(out)
    return out


def test_offline_stays_in_the_folder_and_ends_well(offline: Path) -> None:
    assert [record.exit_code for record in records(offline, "exit")] == [0]
    assert not (offline / "home").exists()


def test_the_specification_is_the_config(offline: Path) -> None:
    (run,) = records(offline, "run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["model"] == "tiny-llama"
    assert [method["name"] for method in config["methods"]] == ["instruct", "dpo"]


def test_tables_charts_and_plots_are_logged(offline: Path) -> None:
    (path,) = offline.glob("wandb/offline-run-*/files/media/table/comparison*.json")
    table = json.loads(path.read_text())
    assert [row[:2] for row in table["data"]] == [
        *(["lamp2", "instruct"], ["lamp2", "dpo"]),
        *(["lamp3", "instruct"], ["lamp3", "dpo"]),
    ]
    assert len(list(offline.glob("wandb/offline-run-*/files/media/images/plots/*.png"))) == 8
    keys = {item.key or item.nested_key[0] for record in records(offline, "history") for item in record.item}
    assert {"comparison", "lamp2/accuracy_table", "lamp3/rmse_table", "plots/lamp2-cost"} <= keys


def test_scores_and_costs_are_in_the_summary(offline: Path) -> None:
    summary = {item.key: item.value_json for record in records(offline, "summary") for item in record.update}
    assert {"lamp2/dpo/accuracy", "lamp3/dpo/mae", "lamp2/dpo/fit_seconds", "lamp2/dpo/regret_rate"} <= set(summary)
    assert summary["lamp2/dpo/reach_seconds"] == "7.0"


def test_what_was_logged_is_what_comparison_json_says(offline: Path) -> None:
    comparison = json.loads((offline / "comparison.json").read_text())
    (path,) = offline.glob("wandb/offline-run-*/files/media/table/comparison*.json")
    table = json.loads(path.read_text())
    logged = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    summary = {item.key: json.loads(item.value_json) for r in records(offline, "summary") for item in r.update}
    for row, ours in zip(comparison["rows"], logged, strict=True):
        assert (row["task"], row["method"], row["seed"]) == (ours["task"], ours["method"], ours["seed"])
        for name, value in row["metrics"].items():
            assert ours[name] == pytest.approx(value, abs=1e-12)
            assert [ours[f"{name}_low"], ours[f"{name}_high"]] == pytest.approx(row["interval"][name], abs=1e-12)
            assert summary[f"{row['task']}/{row['method']}/{name}"] == pytest.approx(value, abs=1e-12)
        for name, test in row["vs_instruct"].items():
            assert ours[f"{name}_p_holm"] == pytest.approx(test["p_holm"], abs=1e-12)
    for task, metrics in comparison["higher_is_better"].items():
        for metric in metrics:
            (path,) = offline.glob(f"wandb/offline-run-*/files/media/table/{task}/{metric}_table*.json")
            bars = dict(json.loads(path.read_text())["data"])
            assert bars == {r["method"]: r["metrics"][metric] for r in comparison["pooled"] if r["task"] == task}


def test_side_effects_stand_beside_the_gain_that_they_are_of(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, broken in (("instruct", 0.0), ("dpo", 1.0)):
        made = samples("lamp2", 0.5).assign(gold_nats=broken - 2, neutral_nats=-3 - broken, neutral_changed=broken)
        run.write(record("lamp2", label, made), made)
    comparison = compare(run)
    write(comparison, tmp_path)
    track(comparison, tmp_path, "offline")
    wait_for_exit(tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/table/comparison*.json")
    table = json.loads(path.read_text())
    row = next(
        found
        for values in table["data"]
        if (found := dict(zip(table["columns"], values, strict=True)))["method"] == "dpo"
    )
    assert (row["gold_nats"], row["neutral_nats"], row["neutral_changed"]) == (-1, -4, 1)
    assert "regret_rate" in row
    summary = {item.key: json.loads(item.value_json) for r in records(tmp_path, "summary") for item in r.update}
    assert summary["lamp2/dpo/neutral_nats"] == -4
    assert summary["lamp2/dpo/neutral_changed"] == 1


def test_every_user_has_a_line_that_agrees_with_the_users_file(offline: Path) -> None:
    (path,) = offline.glob("wandb/offline-run-*/files/media/table/users*.json")
    table = json.loads(path.read_text())
    logged = pd.DataFrame(table["data"], columns=table["columns"])
    written = pd.read_csv(offline / "users.csv", dtype={"user_id": str})
    assert len(logged) == 2 * 2 * 40
    assert list(logged["user_id"]) == list(written["user_id"])
    assert logged["gain"].to_numpy(float) == pytest.approx(written["gain"].to_numpy(float), nan_ok=True)


def test_checkpoints_are_logged_as_not_annealed(tmp_path: Path) -> None:
    store = filled(tmp_path, {"instruct": 0.3, "dpo": 0.9})
    comparison = compare(store)
    comparison = comparison.model_copy(update={"spec": comparison.spec.model_copy(update={"marks": (0.5,)})})
    write(comparison, tmp_path)
    (record,) = [record for record in store.records() if record.spec.method == "dpo"]
    points = [
        Point(mark=30, seconds=31, making=1, samples_used=4, metrics={"accuracy": 0.5}),
        Point(mark=None, seconds=60, making=0, samples_used=9, metrics={"accuracy": 0.9}, annealed=True),
    ]
    text = Anytime(points=points, missing=[]).model_dump_json()
    (store.cell_dir(record.spec) / "anytime.json").write_text(text)
    track(comparison, tmp_path, "offline")
    wait_for_exit(tmp_path)
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/table/anytime*.json")
    table = json.loads(path.read_text())
    lines = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(line["method"], line["seconds"], line["accuracy"], line["annealed"]) for line in lines] == [
        ("dpo", 31, 0.5, False),
        ("dpo", 60, 0.9, True),
    ]


def test_the_records_are_an_artifact(offline: Path) -> None:
    (artifact,) = [artifact for artifact in records(offline, "artifact") if artifact.type == "comparison"]
    names = {Path(entry.path).name for entry in artifact.manifest.contents}
    assert names == {
        *(
            "run.json",
            "cell.json",
            "samples.parquet",
            "comparison.json",
            "comparison.csv",
            "comparison.md",
            "users.csv",
        ),
    }


def test_the_data_is_an_artifact_that_the_comparison_names(offline: Path) -> None:
    data = {
        artifact.name: json.loads(artifact.metadata)
        for artifact in records(offline, "artifact")
        if artifact.type == "dataset"
    }
    (comparison,) = [artifact for artifact in records(offline, "artifact") if artifact.type == "comparison"]
    assert json.loads(comparison.metadata)["data"] == list(data) == ["data-lamp2-d", "data-lamp3-d"]
    assert data["data-lamp2-d"]["data_fingerprint"] == "d"


def test_disabled_touches_nothing(tmp_path: Path) -> None:
    track(compare(filled(tmp_path, {"instruct": 0.3})), tmp_path, "disabled")
    assert not (tmp_path / "wandb").exists()
