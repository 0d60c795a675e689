"""`compare` from end to end on the embedded model: files, resume, failures."""

import json
import warnings

import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from harness import compare
from harness.api import HarnessError
from harness.results.store import Store
from harness.running.progress import Quiet

SETTINGS = {
    "methods": "instruct,llm_rec,chameleon",
    "tasks": "lamp3",
    "budget": "600s",
    "users": 8,
    "seeds": (0,),
    "overrides": {"chameleon": {"ccs": {"restarts": 2, "epochs": 20}}},
}


class Recorder(Quiet):
    """Remembers which cells were computed and which were reused."""

    def __init__(self):
        self.computed, self.reused = [], []

    def finished(self, record, reused):
        (self.reused if reused else self.computed).append(record.spec.method)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, compare(**SETTINGS, out=out)


def test_every_promised_file_is_there(run):
    out, _ = run
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"run.json", "comparison.json", "comparison.csv", "comparison.md", "plots/lamp3.png"} <= names
    for method in ("instruct", "llm_rec", "chameleon"):
        folders = list((out / "cells" / "lamp3" / method).iterdir())
        assert len(folders) == 1
        assert folders[0].name.startswith("seed-0-")
        assert {"cell.json", "samples.parquet"} <= {path.name for path in folders[0].iterdir()}
    assert not [name for name in names if name.rpartition("/")[2].startswith(".")]


def test_comparison_json_has_the_documented_keys(run):
    out, comparison = run
    read = json.loads((out / "comparison.json").read_text())
    assert {"schema_version", "spec", "rows", "comparisons"} <= set(read)
    row = next(row for row in read["rows"] if row["method"] == "chameleon")
    assert set(row["metrics"]) == set(row["interval"]) == set(row["vs_instruct"]) == {"mae", "rmse"}
    assert {"difference", "p", "p_holm"} <= set(row["vs_instruct"]["mae"])
    counted = ("users", "users_fitted", "users_served", "samples_used", "tokens_in", "tokens_out", "peak_memory_bytes")
    assert all(isinstance(row[key], int) for key in counted)
    timed = ("fit_seconds", "budget_seconds", "eval_seconds", "parse_failures", "regret_rate")
    assert all(isinstance(row[key], float) for key in timed)
    assert len(comparison.to_pandas()) == 3


def test_official_scoring_of_the_written_predictions_gives_the_same_numbers(run):
    out, comparison = run
    for record in Store(out).records():
        samples = Store(out).samples(record.spec)
        assert samples["parsed"].all()
        gold, predicted = samples["gold"].astype(float), samples["prediction"].astype(float)
        assert record.metrics["mae"] == pytest.approx(mean_absolute_error(gold, predicted), abs=1e-9)
        assert record.metrics["rmse"] == pytest.approx(root_mean_squared_error(gold, predicted), abs=1e-9)
        row = next(row for row in comparison.rows if row.method == record.spec.method)
        assert row.metrics == pytest.approx(record.metrics, abs=1e-9)


def test_phases_add_up_and_fits_keep_the_budget(run):
    out, _ = run
    for record in Store(out).records():
        assert record.status == "complete"
        assert sum(record.phases.values()) == pytest.approx(record.fit_seconds, abs=1e-6)
        assert record.fit_seconds <= record.budget_seconds


def test_all_methods_answer_the_same_queries_from_the_same_prompts(run):
    out, _ = run
    samples = {record.spec.method: Store(out).samples(record.spec) for record in Store(out).records()}
    assert len({tuple(frame["query_id"]) for frame in samples.values()}) == 1
    assert list(samples["instruct"]["prompt_sha256"]) == list(samples["chameleon"]["prompt_sha256"])


def test_the_same_run_again_computes_nothing(run):
    out, comparison = run
    recorder = Recorder()
    again = compare(**SETTINGS, out=out, listener=recorder)
    assert recorder.computed == []
    assert len(recorder.reused) == 3
    assert again.rows == comparison.rows


def test_a_run_repeated_elsewhere_gives_the_same_answers(run, tmp_path):
    out, _ = run
    compare(**{**SETTINGS, "methods": ["chameleon"], "tasks": ["lamp3"], "seeds": 0}, out=tmp_path / "again")
    (theirs,) = Store(tmp_path / "again").records()
    ours = next(record for record in Store(out).records() if record.spec.method == "chameleon")
    assert theirs.spec.digest == ours.spec.digest
    pd.testing.assert_frame_equal(Store(tmp_path / "again").samples(theirs.spec), Store(out).samples(ours.spec))


def test_another_specification_in_the_same_folder_is_refused(run):
    out, _ = run
    with pytest.raises(HarnessError, match="another specification"):
        compare(**{**SETTINGS, "users": 9}, out=out)


def test_a_method_that_raises_is_a_failed_row_and_the_others_finish(tmp_path, monkeypatch):
    def fail(self, context):
        raise RuntimeError("no notes today")

    monkeypatch.setattr("harness.methods.llm_rec.LlmRec.fit", fail)
    asked = {**SETTINGS, "methods": "instruct,llm_rec,constant", "overrides": {}}
    comparison = compare(**asked, out=tmp_path / "out")
    rows = {row.method: row for row in comparison.rows}
    assert {name: row.status for name, row in rows.items()} == {
        "instruct": "complete",
        "llm_rec": "failed",
        "constant": "complete",
    }
    assert rows["llm_rec"].reason == "RuntimeError: no notes today"
    (error,) = (tmp_path / "out").rglob("error.txt")
    assert "no notes today" in error.read_text()
    monkeypatch.undo()
    recorder = Recorder()
    assert all(row.status == "complete" for row in compare(**asked, out=tmp_path / "out", listener=recorder).rows)
    assert recorder.computed == ["llm_rec"]


def test_a_fit_can_be_kept(tmp_path):
    compare(**{**SETTINGS, "methods": "chameleon"}, out=tmp_path / "out", save_fits=True)
    (fit,) = (tmp_path / "out").rglob("fit")
    assert {path.suffix for path in fit.iterdir()} <= {".json", ".safetensors"}


def test_of_a_cell_that_was_finished_without_its_fit_the_wish_to_keep_fits_is_warned_of(tmp_path):
    asked = {**SETTINGS, "methods": "instruct,constant", "overrides": {}, "users": 2, "out": tmp_path / "out"}
    compare(**asked | {"save_fits": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(**asked | {"save_fits": True})
    (folder,) = (tmp_path / "out" / "cells" / "lamp3" / "constant").iterdir()
    (folder / "fit").rename(tmp_path / "fit")
    with pytest.warns(UserWarning, match=r"not kept: constant on lamp3, seed 0\. .*--save-fits --fresh"):
        compare(**asked | {"save_fits": True})


def test_the_instrument_tells_a_working_edit_from_a_random_one(tmp_path):
    # All layers tie for CCS here, and which one it takes is another matter.
    methods = [f"{name}:layers=[0],position=answer_start" for name in ("chameleon", "random_direction")]
    comparison = compare(",".join(["instruct", *methods]), "600s", "lamp7", users=20, out=tmp_path / "out")
    chameleon, random = (next(row for row in comparison.rows if row.label == label) for label in methods)
    assert chameleon.vs_instruct["rouge1"].difference > 0.02
    assert chameleon.vs_instruct["rouge1"].p_holm < 0.05
    assert random.metrics["rouge1"] < chameleon.metrics["rouge1"] - 0.02
