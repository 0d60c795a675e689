"""An experiment's W&B run, made offline and read back from its file."""

import json

import pandas as pd
import pytest

from harness.reproduction.answer import answer, short_verdicts
from harness.reproduction.experiment_spec import common
from harness.reproduction.experiments import assemble, write
from harness.reproduction.glance import glance
from harness.reproduction.result_tracking import track_result
from tests.reproduction.made_up import experiment, point
from tests.wandb_files import records, wait_for_exit


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """(the result, the folder it was tracked from)"""
    found = point(
        tmp_path_factory.mktemp("point"), {"instruct": 0.3, "aloe": 0.8, "chameleon": 0.9}, ("lamp2", "lamp3")
    )
    result = assemble(experiment("table1"), [found], "small")
    folder = tmp_path_factory.mktemp("result")
    write(result, folder)
    track_result(result, folder, "offline")
    wait_for_exit(folder)
    return result, folder


def logged(folder, name):
    (path,) = folder.glob(f"wandb/offline-run-*/files/media/table/{name}*.json")
    table = json.loads(path.read_text())
    return pd.DataFrame(table["data"], columns=table["columns"])


def test_the_table_holds_every_score_with_its_interval(tracked):
    result, folder = tracked
    table = logged(folder, "table1_")
    assert len(table) == len(result.rows)
    for row, ours in zip(result.rows, table.to_dict("records"), strict=True):
        assert (ours["task"], ours["metric"], ours["label"]) == (row.task, row.metric, row.label)
        assert ours["value"] == pytest.approx(row.value)
        assert [ours["value_low"], ours["value_high"]] == pytest.approx(row.interval)
    assert {"regret_rate", "better_rate", "fit_seconds", "improvement"} <= set(table.columns)


def test_the_table_to_choose_by_is_there(tracked):
    result, folder = tracked
    table = logged(folder, "table1/glance/lamp2")
    ours = glance(result, "lamp2", common().names)
    assert list(table.columns) == ours.columns
    assert table.to_numpy().tolist() == ours.rows


def test_the_answer_on_a_real_model_is_in_the_summary(tracked, tmp_path):
    result = tracked[0].model_copy(deep=True)
    result.models = {"smollm2-135m": ""}
    for one in (*result.rows, *result.claims):
        one.model = "smollm2-135m"
    write(result, tmp_path)
    track_result(result, tmp_path, "offline")
    wait_for_exit(tmp_path)
    summary = {item.key: json.loads(item.value_json) for r in records(tmp_path, "summary") for item in r.update}
    assert summary["answer"].split("\n") == [*answer([result], common().names), *short_verdicts([result])]
    assert summary["answer"].startswith("smollm2-135m with the first 60 users")


def test_claims_verdicts_and_records_are_there(tracked):
    result, folder = tracked
    claims = logged(folder, "table1/claims")
    assert sorted(claims["gain"]) == pytest.approx(sorted(t.gain for claim in result.claims for t in claim.tests))
    summary = {item.key: json.loads(item.value_json) for r in records(folder, "summary") for item in r.update}
    for claim in result.claims:
        assert summary[f"{claim.model}: {claim.quote}"] == claim.verdict
    (artifact,) = [one for one in records(folder, "artifact") if one.type == "experiment"]
    assert {entry.path for entry in artifact.manifest.contents} == {f"table1.{x}" for x in ("json", "csv", "md", "png")}
