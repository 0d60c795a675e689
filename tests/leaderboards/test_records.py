"""`add` keeps what a run says, once, and refuses what is no run."""

import json
import math

import pytest
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.leaderboards.commands.leaderboard import app
from harness.leaderboards.json_files import write_whole
from harness.leaderboards.recording import add, read_records, record
from tests.leaderboards.record_files import edit, result


def test_a_record_holds_the_scores_tests_and_costs_of_the_run(run):
    folder = run()
    comparison = json.loads((folder / "comparison.json").read_text())
    found = record(folder)
    assert len(found.results) == len(comparison["pooled"]) == 6
    for row in comparison["pooled"]:
        kept = result(found, row["task"], row["method"])
        assert {metric: score.value for metric, score in kept.scores.items()} == row["metrics"]
        assert {m: [s.low, s.high] for m, s in kept.scores.items()} == row["interval"]
        tests = {m: s.vs_instruct.p_holm for m, s in kept.scores.items() if s.vs_instruct}
        assert tests == {metric: test["p_holm"] for metric, test in row["vs_instruct"].items()}
        assert kept.tokens == row["tokens_in"] + row["tokens_out"]
    assert [ranking.model_dump() for ranking in found.rankings] == comparison["rankings"]
    chameleon = next(row for row in comparison["pooled"] if (row["task"], row["method"]) == ("lamp2", "chameleon"))
    kept = result(found, "lamp2", "chameleon")
    assert (kept.stored_bytes, kept.bytes_per_user) == (100, chameleon["bytes_per_user"])
    assert result(found, "lamp2", "instruct").stored_bytes == 0
    assert kept.scores["f1"].vs_instruct.effect_size == chameleon["vs_instruct"]["f1"]["effect_size"] is not None


def test_kinds_come_from_how_methods_are_registered(run):
    kinds = {one.method: one.kind for one in record(run()).results}
    assert kinds == {"instruct": "baseline", "chameleon": "method", "constant": "control"}


def test_the_smallest_detectable_difference_is_that_of_the_test_against_instruct(run):
    folder = run()
    tests = json.loads((folder / "comparison.json").read_text())["comparisons"]
    (expected,) = [
        test["minimum_detectable"]
        for test in tests
        if (test["task"], test["metric"], test["a"], test["b"]) == ("lamp3", "rmse", "chameleon", "instruct")
    ]
    assert result(record(folder), "lamp3", "chameleon").scores["rmse"].vs_instruct.minimum_detectable == expected


def test_samples_are_the_first_answers_cut_to_a_readable_length(run):
    found = record(run(answer="long " * 200), samples=2)
    samples = result(found, "lamp2", "chameleon").samples
    assert [sample.query for sample in samples] == ["q0", "q1"]
    assert len(samples[0].output) == 280
    assert samples[0].output.endswith("…")


def test_no_user_text_is_kept_when_none_is_wanted(run):
    text = record(run(answer="a private tweet"), samples=0).model_dump_json()
    assert "a private tweet" not in text


def test_folders_of_this_machine_are_not_published(run):
    folder = run(data="/home/somebody/lamp")
    for model in ("/srv/models/mistral", "C:\\models\\mistral"):
        edit(folder / "run.json", lambda values, model=model: values["spec"].update(model=model))
        edit(folder / "comparison.json", lambda values, model=model: values["spec"].update(model=model))
        found = record(folder)
        assert (found.setting.model, found.setting.data) == ("mistral", "lamp")
        assert not {"somebody", "srv", "models"} & set(found.model_dump_json().replace("/", '"').split('"'))


def test_no_folder_of_a_setting_is_published_however_deep_it_lies(run):
    folder, path = run(), "/home/somebody/private/general.jsonl"
    settings = {"aloe": {"general_data": path}}
    for name in ("run.json", "comparison.json"):
        edit(folder / name, lambda values: values["spec"].update(overrides=settings))
    for cell in folder.glob("cells/*/*/*/cell.json"):
        edit(cell, lambda values: values["spec"]["config"].update(corpora=[{"path": path}]))
    found = record(folder).model_dump_json()
    assert "general.jsonl" in found
    assert "somebody" not in found


def test_no_folder_of_a_variant_is_published(run):
    settings = "general_data=/home/somebody/general.jsonl,general_fraction=0.5"
    found = record(run(qualities={"instruct": 0.3, f"aloe:{settings}": 0.9, f"shuffled_aloe:{settings}": 0.4}))
    public = "general_data=general.jsonl,general_fraction=0.5"
    assert {result.label for result in found.results} >= {f"aloe:{public}", f"shuffled_aloe:{public}"}
    assert set(result(found, "lamp2", "aloe").scores["accuracy"].vs_controls) == {f"shuffled_aloe:{public}"}
    assert "somebody" not in found.model_dump_json()


def test_a_hub_name_keeps_its_owner(run):
    folder = run()
    for name in ("run.json", "comparison.json"):
        edit(folder / name, lambda values: values["spec"].update(model="mistralai/Mistral-7B-Instruct-v0.3"))
    assert record(folder).setting.model == "mistralai/Mistral-7B-Instruct-v0.3"


def test_adding_a_run_twice_changes_nothing(run, tmp_path):
    folder, records = run(), tmp_path / "records"
    path, first = add(folder, records)
    before = path.read_bytes()
    again, second = add(folder, records)
    assert (first, second, again) == ("added", "unchanged", path)
    assert path.read_bytes() == before
    assert [file.name for file in records.iterdir()] == [path.name]


def test_another_result_of_the_same_run_needs_replace(run, tmp_path):
    folder, records = run(), tmp_path / "records"
    path, _ = add(folder, records)
    before = path.read_text()
    edit(folder / "comparison.json", lambda values: values["notes"].append("computed again"))
    with pytest.raises(HarnessError, match="--replace"):
        add(folder, records)
    assert path.read_text() == before
    assert add(folder, records, replace=True) == (path, "replaced")
    assert "computed again" in path.read_text()


def test_the_command_keeps_as_many_answers_as_asked_for(run, tmp_path):
    folder = run(answer="a private tweet")
    for count, kept in (("0", False), ("1", True)):
        records = tmp_path / count
        done = CliRunner().invoke(app, ["add", str(folder), "--records", str(records), "--samples", count])
        assert done.exit_code == 0, done.exception
        [path] = records.iterdir()
        assert done.output == f"added: {path}\n"
        assert ("a private tweet" in path.read_text()) == kept
        results = [one for one in read_records(records)[0].results if one.task == "lamp2"]
        assert {len(one.samples) for one in results} == {int(count)}


def test_the_command_replaces_another_result_only_where_told_to(run, tmp_path):
    folder, records = run(), tmp_path / "records"
    path, _ = add(folder, records)
    edit(folder / "comparison.json", lambda values: values["notes"].append("computed again"))
    command = ["add", str(folder), "--records", str(records)]
    assert isinstance(CliRunner().invoke(app, command).exception, HarnessError)
    assert "computed again" not in path.read_text()
    done = CliRunner().invoke(app, [*command, "--replace"])
    assert (done.exit_code, done.output) == (0, f"replaced: {path}\n")
    assert "computed again" in path.read_text()


def test_two_budgets_are_two_records(run, tmp_path):
    records = tmp_path / "records"
    first, second = run("a"), run("b")
    for name in ("run.json", "comparison.json"):
        edit(second / name, lambda values: values["spec"].update(budget=20))
    add(first, records)
    add(second, records)
    assert {found.setting.budget_seconds for found in read_records(records)} == {20, 60}


def test_fields_that_a_later_harness_adds_are_passed_over(run):
    folder = run()

    def widen(values):
        values["effect_sizes"] = [1]
        for row in (*values["rows"], *values["pooled"], *values["rankings"], *values["comparisons"]):
            row["added_later"] = {"x": 1}

    edit(folder / "comparison.json", widen)
    assert len(record(folder).results) == 6


def test_a_failed_fit_is_recorded_with_its_reason_and_without_scores(run):
    folder = run()

    def fail(values):
        for row in (*values["rows"], *values["pooled"]):
            if row["method"] == "chameleon":
                row.update(status="failed", reason="out of memory", metrics={}, interval={}, vs_instruct={}, seeds=[])
        values["rankings"] = []

    edit(folder / "comparison.json", fail)
    kept = result(record(folder), "lamp2", "chameleon")
    assert (kept.status, kept.reason, kept.scores, kept.samples) == ("failed", "out of memory", {}, [])


def drop(*path):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


def put(value, *path):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (drop("pooled", 1, "metrics"), "pooled.1.metrics"),
        (drop("rankings"), "rankings"),
        (put("fast", "pooled", 0, "fit_seconds"), "pooled.0.fit_seconds"),
        (put(math.nan, "pooled", 0, "metrics", "accuracy"), "pooled.0.metrics.accuracy"),
        (put(math.inf, "pooled", 1, "interval", "accuracy", 1), "pooled.1.interval.accuracy.1"),
        (put([0.9, 0.1], "pooled", 0, "interval", "accuracy"), r"results.0.scores.accuracy.*two ordered ends"),
        (put(1.5, "pooled", 1, "vs_instruct", "accuracy", "p_holm"), "p_holm"),
        (put("nobody", "rankings", 0, "best"), "names nobody"),
        (put([], "pooled"), "pooled"),
        (put({}, "higher_is_better"), "no direction"),
        (put(0.123, "rows", 0, "metrics", "accuracy"), r"accuracy 0.123.*cell.json has"),
    ],
)
def test_a_fault_in_the_comparison_names_file_and_field(run, tmp_path, change, field):
    folder = run()
    edit(folder / "comparison.json", change)
    with pytest.raises(HarnessError, match=rf"(?s)comparison\.json.*{field}"):
        add(folder, tmp_path / "records")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("name", ["comparison.json", "run.json"])
def test_a_folder_that_is_no_finished_run_is_refused(run, tmp_path, name):
    folder = run()
    (folder / name).unlink()
    with pytest.raises(HarnessError, match=rf"no .*{name}.*harness compare"):
        add(folder, tmp_path)


def test_a_file_that_was_cut_short_is_refused(run):
    folder = run()
    path = folder / "comparison.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(HarnessError, match=r"comparison\.json is not as it should be"):
        record(folder)


def test_a_comparison_of_another_specification_is_refused(run):
    folder = run()
    edit(folder / "run.json", lambda values: values["spec"].update(budget=5))
    with pytest.raises(HarnessError, match="differ in what they asked for: budget"):
        record(folder)


def test_a_comparison_rebuilt_by_a_later_harness_is_taken(run):
    folder = run()
    edit(folder / "comparison.json", lambda values: values["spec"].update(added_later=None))
    assert record(folder).setting.budget_seconds == 60


def test_a_row_without_its_cell_is_refused(run):
    folder = run()
    next(folder.glob("cells/lamp3/chameleon/*/cell.json")).unlink()
    with pytest.raises(HarnessError, match=r"chameleon on lamp3.* has no cell\.json"):
        record(folder)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")])
def test_samples_that_cannot_be_read_are_named(run, damage):
    folder = run()
    damage(next(folder.glob("cells/lamp2/chameleon/*/samples.parquet")))
    with pytest.raises(HarnessError, match=r"lamp2/chameleon/.*samples\.parquet"):
        record(folder)


def test_a_bad_record_is_named_when_the_records_are_read(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")
    edit(path, lambda values: values["results"][2].update(users="many"))
    with pytest.raises(HarnessError, match=rf"{path.name}.*results\.2\.users"):
        read_records(path.parent)


def test_a_record_whose_best_is_not_the_best_by_its_scores_is_refused(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")
    edit(path, lambda values: values["rankings"][0].update(best="constant", tied=[]))
    with pytest.raises(HarnessError, match="ranking of lamp2 by accuracy names constant as the best, but instruct"):
        read_records(path.parent)


def test_stored_bytes_are_the_mean_of_the_seeds_as_other_costs_are(run):
    folder = run()
    edit(folder / "comparison.json", lambda values: values["pooled"][1].update(fit_bytes=80))
    assert record(folder).results[1].stored_bytes == 80


def test_a_record_under_another_name_is_refused(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")
    path.rename(path.with_name("mine.json"))
    with pytest.raises(HarnessError, match=r"mine\.json"):
        read_records(path.parent)


def test_no_folder_of_records_says_what_to_do(tmp_path):
    with pytest.raises(HarnessError, match="harness leaderboard add"):
        read_records(tmp_path / "absent")


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    path = tmp_path / "record.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \udcff")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(HarnessError, match="No space left"):
        write_whole(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["record.json"]
    assert path.read_text() == "old"
