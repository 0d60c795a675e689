"""A sweep's W&B run, made offline and read back: its table and summary are sweep.json's numbers."""

import json

import pytest

from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_report import write
from harness.sweeps.sweep_spec import Point, SweepSpec
from harness.sweeps.sweep_tracking import track_sweep
from tests import fabricate
from tests.wandb_files import records, wait_for_exit

SWEEP = SweepSpec(name="depth", parameters={"history": {"values": [1, 4]}})


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    results = []
    for history, quality in ((1, 0.4), (4, 0.9)):
        folder = out / "points" / str(history)
        store = fabricate.filled(folder, {"instruct": 0.3, "dpo": quality})
        spec = store.read_run().spec.model_copy(update={"history": history})
        results.append(PointResult(Point({"history": history}, spec), folder, fabricate.compare(store)))
    track_sweep(SWEEP, results, write(SWEEP, results, out), out, "offline")
    wait_for_exit(out)
    return out


def test_the_table_holds_every_line_of_the_sweep(logged):
    rows = json.loads((logged / "sweep.json").read_text())["rows"]
    [path] = logged.glob("wandb/offline-run-*/files/media/table/sweep*.json")
    table = json.loads(path.read_text())
    assert [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] == [
        {key: pytest.approx(value) if isinstance(value, float) else value for key, value in row.items()} for row in rows
    ]


def test_the_summary_holds_every_score_by_its_point(logged):
    rows = json.loads((logged / "sweep.json").read_text())["rows"]
    summary = {item.key: json.loads(item.value_json) for r in records(logged, "summary") for item in r.update}
    for row in rows:
        name = f"{row['point']}/{row['task']}/{row['method']}/{row['metric']}"
        assert summary[name] == pytest.approx(row["value"])


def test_the_plot_and_the_files_are_logged_in_one_run_of_the_sweeps_kind(logged):
    [run] = records(logged, "run")
    assert run.job_type == "sweep"
    assert len(list(logged.glob("wandb/offline-run-*/files/media/images/plots/*.png"))) == 1
    [artifact] = [found for found in records(logged, "artifact") if found.type == "sweep"]
    assert {entry.path for entry in artifact.manifest.contents} == {
        *("sweep.csv", "sweep.md", "sweep.json", "plots/lamp2.png"),
    }
