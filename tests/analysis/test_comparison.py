"""From records and samples to the comparison: what is right on a whole run, and what happens when parts are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fabricate import METRICS, compare, filled, record, run_spec, samples, store

from harness.analysis.comparing import compare as compare_cells
from harness.analysis.comparison import Comparison, PairTest, Row

TWO = {"instruct": 0.2, "dpo": 0.9}
CONTRACT = (
    *("task", "method", "variant", "seed", "status", "metrics", "interval", "vs_instruct", "parse_failures"),
    *("regret_rate", "users", "users_fitted", "users_served", "samples_used", "fit_seconds", "budget_seconds"),
    *("eval_seconds", "tokens_in", "tokens_out", "peak_memory_bytes"),
)


def row_of(comparison: Comparison, label: str, task: str = "lamp2") -> Row:
    return next(row for row in comparison.pooled if (row.label, row.task) == (label, task))


def pair_of(comparison: Comparison, a: str, b: str, metric: str = "accuracy") -> PairTest:
    return next(test for test in comparison.comparisons if (test.a, test.b, test.metric) == (a, b, metric))


def test_a_clear_winner_is_told_apart_on_every_task_and_metric(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO | {"chameleon": 0.25}, ("lamp2", "lamp3")))
    assert [(r.task, r.metric, r.best, r.tied) for r in comparison.rankings] == [
        ("lamp2", "accuracy", "dpo", []),
        ("lamp2", "f1", "dpo", []),
        ("lamp3", "mae", "dpo", []),
        ("lamp3", "rmse", "dpo", []),
    ]
    assert row_of(comparison, "dpo").vs_instruct["accuracy"].p_holm < 0.01
    assert row_of(comparison, "dpo", "lamp3").vs_instruct["mae"].difference < 0
    assert row_of(comparison, "chameleon").vs_instruct["accuracy"].p_holm > 0.05


def test_rows_equal_the_records_and_their_files(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    comparison = compare(run)
    assert [row.metrics for row in comparison.rows] == [pytest.approx(cell.metrics) for cell in reversed(run.records())]
    for row in comparison.rows:
        assert all(row.interval[name][0] <= value <= row.interval[name][1] for name, value in row.metrics.items())
    assert comparison.notes == []


def test_json_keeps_the_contract_and_holds_no_nan(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO, users=1))
    data = json.loads(comparison.model_dump_json(), parse_constant=lambda text: pytest.fail(text))
    assert {"schema_version", "spec", "rows", "comparisons"} <= set(data)
    assert set(CONTRACT) <= set(data["rows"][0])
    assert Comparison.model_validate(data) == comparison.model_copy(update={"users": []})


def test_holm_runs_over_all_methods_tasks_and_metrics(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO | {"aloe": 0.5, "llm_rec": 0.3}, ("lamp2", "lamp3")))
    against = [test for test in comparison.comparisons if test.b == "instruct"]
    among = [test for test in comparison.comparisons if test.b != "instruct"]
    assert (len(against), len(among)) == (3 * 2 * 2, 3 * 2 * 2)
    assert {test.tests for test in against} == {12}
    smallest = min(against, key=lambda test: test.p)
    assert smallest.p_holm == pytest.approx(min(1, 12 * smallest.p))


def test_equal_methods_tie_and_say_so(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, seconds in (("instruct", 0.0), ("dpo", 9.0)):
        run.write(record("lamp2", label, samples("lamp2", 0.5), fit_seconds=seconds), samples("lamp2", 0.5))
    comparison = compare(run)
    assert (comparison.rankings[0].best, comparison.rankings[0].tied) == ("instruct", ["dpo"])
    test = pair_of(comparison, "dpo", "instruct")
    assert (test.identical, test.p, test.minimum_detectable) == (True, 1.0, None)
    assert row_of(comparison, "dpo").regret_rate == 0


def test_regret_counts_users_not_queries(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    base = samples("lamp2", 1.0, users=10, per_user=2)
    worse = base.assign(prediction=base["prediction"].mask(base["user_id"].isin(["u0", "u3"]), "no tag"))
    run.write(record("lamp2", "instruct", base), base)
    run.write(record("lamp2", "dpo", worse), worse)
    row = row_of(compare(run), "dpo")
    assert row.regret_rate == pytest.approx(0.2)
    assert row.worst_decile == 0
    assert row.per_user_mean == pytest.approx(0.8)


def test_seeds_are_averaged_per_query_and_kept_as_rows(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1)))
    for seed in (0, 1):
        for label, quality in TWO.items():
            frame = samples("lamp2", quality, seed=10 * seed + len(label))
            run.write(record("lamp2", label, frame, seed=seed, fit_seconds=2.0 + seed), frame)
    comparison = compare(run)
    seeds = [row for row in comparison.rows if row.label == "dpo"]
    assert [row.seed for row in seeds] == [0, 1]
    pooled = row_of(comparison, "dpo")
    assert (pooled.seed, pooled.seeds, pooled.fit_seconds) == (None, [0, 1], 2.5)
    assert pooled.metrics["accuracy"] == pytest.approx(sum(row.metrics["accuracy"] for row in seeds) / 2)
    assert pooled.queries == seeds[0].queries
    assert all(row.vs_instruct["accuracy"].p_holm < 0.05 for row in seeds)
    width = [row.interval["accuracy"][1] - row.interval["accuracy"][0] for row in (pooled, seeds[0])]
    assert width[0] < 1.2 * width[1]


def test_a_failed_seed_leaves_the_others(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1)))
    frame = samples("lamp2", 0.5)
    for seed in (0, 1):
        run.write(record("lamp2", "instruct", frame, seed=seed), frame)
    run.write(record("lamp2", "dpo", frame, seed=0), frame)
    run.write(record("lamp2", "dpo", None, seed=1, status="failed", reason="out of memory"), None)
    comparison = compare(run)
    pooled = row_of(comparison, "dpo")
    assert (pooled.status, pooled.seeds, pooled.reason) == ("complete", [0], "seed 1 failed: out of memory")
    assert [(row.seed, row.status, row.metrics != {}) for row in comparison.rows if row.method == "dpo"] == [
        (0, "complete", True),
        (1, "failed", False),
    ]


def test_a_failed_method_is_a_row_with_its_reason(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    run.write(record("lamp2", "aloe", None, status="failed", reason="no room"), None)
    row = row_of(compare(run), "aloe")
    assert (row.status, row.reason, row.metrics, row.vs_instruct, row.parse_failures) == (
        *("failed", "no room"),
        *({}, {}, None),
    )


def test_without_instruct_nothing_is_compared_with_it(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"dpo": 0.9, "aloe": 0.2}))
    assert all(row.vs_instruct == {} and row.regret_rate is None for row in comparison.rows)
    assert comparison.rankings[0].best == "dpo"
    assert any("no answer of instruct on lamp2" in note for note in comparison.notes)


def test_one_user_gives_no_interval_and_no_verdict(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO, users=1))
    assert row_of(comparison, "dpo").interval == {}
    assert pair_of(comparison, "dpo", "instruct").p == 1.0
    assert len(comparison.rankings[0].tied) == 1


def test_methods_are_compared_on_the_queries_that_both_answered(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    part = samples("lamp2", 0.9, seed=1).iloc[:30]
    run.write(record("lamp2", "dpo", part), part)
    comparison = compare(run)
    assert pair_of(comparison, "dpo", "instruct").queries == 30
    assert any("compared on the 30 that both answered" in note for note in comparison.notes)


def test_methods_without_a_common_query_are_not_tested(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    other = samples("lamp2", 0.9).assign(query_id=[f"other{index}" for index in range(80)])
    run.write(record("lamp2", "dpo", other), other)
    comparison = compare(run)
    assert comparison.comparisons == []
    assert row_of(comparison, "dpo").regret_rate is None


def test_an_overrun_fit_does_not_rank(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    frame = samples("lamp2", 1.0)
    run.write(record("lamp2", "dpo", frame, status="overran", fit_seconds=70), frame)
    comparison = compare(run)
    assert comparison.rankings[0].best == "instruct"
    assert "accuracy" in row_of(comparison, "dpo").vs_instruct


def test_damaged_samples_and_doctored_records_are_noted(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO | {"aloe": 0.5})
    path = next(tmp_path.glob("cells/lamp2/aloe/*/samples.parquet"))
    path.write_bytes(b"no parquet")
    changed = record("lamp2", "dpo", samples("lamp2", 0.1))
    frame = samples("lamp2", 0.9, seed=1)
    run.write(changed, frame)
    comparison = compare(run)
    assert row_of(comparison, "aloe").metrics == {}
    assert any("aloe on lamp2, seed 0, is left out" in note for note in comparison.notes)
    assert any("disagrees with its samples" in note for note in comparison.notes)
    assert row_of(comparison, "dpo").metrics["accuracy"] > 0.8


def test_the_newest_of_several_records_counts(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO)
    frame = samples("lamp2", 1.0)
    newer = record("lamp2", "dpo", frame)
    spec = newer.spec.model_copy(update={"method_source": "changed"})
    run.write(newer.model_copy(update={"spec": spec, "started_at": "2027"}), frame)
    comparison = compare(run)
    assert row_of(comparison, "dpo").metrics["accuracy"] == 1
    assert any("several records" in note for note in comparison.notes)


def test_cells_not_yet_computed_are_named(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo", seeds=(0, 1)))
    frame = samples("lamp2", 0.5)
    run.write(record("lamp2", "instruct", frame), frame)
    notes = compare(run).notes
    assert "instruct on lamp2 has no record yet for seed 1." in notes
    assert "dpo on lamp2 has no record yet for seed 0, 1." in notes


def test_an_empty_run_compares_to_nothing() -> None:
    comparison = compare_cells(run_spec(), [], METRICS)
    assert (comparison.rows, comparison.rankings) == ([], [])


def test_the_table_is_flat_with_one_line_per_cell(tmp_path: Path) -> None:
    frame = compare(filled(tmp_path, TWO, ("lamp2", "lamp3"))).to_pandas()
    assert len(frame) == 4
    assert {"accuracy", "accuracy_low", "accuracy_high", "accuracy_vs_instruct", "mae_p_holm"} <= set(frame.columns)


def test_rows_follow_the_command_line(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"dpo": 0.5, "instruct": 0.5, "aloe": 0.5}, ("lamp3", "lamp2")))
    assert [(row.task, row.label) for row in comparison.rows] == [
        *(("lamp3", label) for label in ("dpo", "instruct", "aloe")),
        *(("lamp2", label) for label in ("dpo", "instruct", "aloe")),
    ]
