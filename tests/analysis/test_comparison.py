"""From records and samples to the comparison: what is right on a whole run, and what happens when parts are missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.build_comparison import compare as compare_cells
from harness.analysis.comparison import Comparison, PairTest, Row
from tests.fabricate import METRICS, compare, filled, record, run_spec, samples, store

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


def test_effect_sizes_stand_beside_every_difference(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO | {"aloe": 0.3}))
    for test in comparison.comparisons:
        assert test.effect_size is not None
        assert (test.effect_size > 0) == (test.difference > 0)
    versus = row_of(comparison, "dpo").vs_instruct["accuracy"]
    assert versus.effect_size == pair_of(comparison, "dpo", "instruct").effect_size
    by_user = comparison.users_to_pandas().query("method == 'dpo'")["gain"]
    assert versus.effect_size == pytest.approx(by_user.mean() / by_user.std())
    flat = comparison.to_pandas().set_index("method")
    assert flat.loc["dpo", "accuracy_effect_size"] == versus.effect_size


def test_scores_by_history_partition_the_users_and_recompute_the_metric(tmp_path: Path) -> None:
    run = filled(tmp_path, TWO, ("lamp3",))
    comparison = compare(run)
    row, frame = row_of(comparison, "dpo", "lamp3"), run.samples(record("lamp3", "dpo", None).spec)
    assert [(found.low, found.high) for found in row.by_history] == [
        (0, 0),
        (1, 1),
        (2, 4),
        (9, 16),
        (17, 64),
        (65, None),
    ]
    assert (sum(found.users for found in row.by_history), sum(found.queries for found in row.by_history)) == (40, 80)
    errors = (frame["prediction"].astype(int) - frame["gold"].astype(int)).abs()
    base = run.samples(record("lamp3", "instruct", None).spec)
    others = (base["prediction"].astype(int) - base["gold"].astype(int)).abs()
    for found in row.by_history:
        inside = frame["history_items"].between(found.low, np.inf if found.high is None else found.high)
        assert found.value == pytest.approx(errors[inside].mean())
        assert found.vs_instruct == pytest.approx(errors[inside].mean() - others[inside].mean())
        assert found.interval is not None
        assert found.interval[0] <= found.value <= found.interval[1]


def test_samples_that_know_no_history_lengths_have_no_bins(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    for label, quality in TWO.items():
        frame = samples("lamp2", quality).drop(columns="history_items")
        run.write(record("lamp2", label, frame), frame)
    comparison = compare(run)
    assert all(row.by_history == [] for row in comparison.rows)
    assert {user.history_items for user in comparison.users} == {None}


def test_every_user_is_a_line_with_scores_that_average_to_the_rows(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, TWO, ("lamp2", "lamp3")))
    frame = comparison.users_to_pandas()
    assert len(frame) == 2 * 2 * 40
    for task, sign in (("lamp2", 1), ("lamp3", -1)):
        row, own = row_of(comparison, "dpo", task), frame.query(f"task == '{task}' and method == 'dpo'")
        assert own["value"].mean() == pytest.approx(row.per_user_mean)
        assert list(own["gain"]) == pytest.approx(list(sign * (own["value"] - own["instruct"])))
        assert (own["gain"] < 0).mean() == pytest.approx(row.regret_rate)
        assert (own["gain"] > 0).mean() == pytest.approx(row.better_rate)
        assert row.gain_quartiles == pytest.approx(tuple(own["gain"].quantile([0, 0.25, 0.5, 0.75, 1])))
        assert row.per_user_quartiles == pytest.approx(tuple(own["value"].quantile([0, 0.25, 0.5, 0.75, 1])))
    assert set(own["queries"]) == {2}


def test_one_more_user_costs_nothing_under_a_fit_for_all_and_the_average_under_others(tmp_path: Path) -> None:
    run, frame = filled(tmp_path, TWO | {"aloe": 0.5, "llm_rec": 0.4, "constant": 0.1}), samples("lamp2", 0.5)
    for label, changes in {
        "aloe": {"serves_newcomers": True},
        "llm_rec": {"serves_newcomers": None},
        "constant": {"users_fitted": 0, "users_served": 0},
    }.items():
        run.write(record("lamp2", label, frame).model_copy(update=changes), frame)
    comparison = compare(run)
    found = {
        row.label: (row.marginal_seconds, row.marginal_tokens, row.marginal_bytes, row.bytes_per_user)
        for row in comparison.pooled
    }
    assert found["dpo"] == (0.7, 120, 614.4, 512)
    assert found["aloe"] == (0, 0, 0, 512)
    assert found["llm_rec"] == (None, None, None, 512)
    assert found["constant"] == (None, None, None, None)


def test_the_front_holds_what_nothing_as_fast_matches_and_no_overrun(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo,aloe,llm_rec,constant"))
    for label, quality, seconds in (
        *(("instruct", 0.3, 0.0), ("dpo", 0.9, 5.0), ("aloe", 0.9, 9.0), ("llm_rec", 0.5, 7.0)),
        ("constant", 1.0, 70.0),
    ):
        frame = samples("lamp2", quality)
        status = "overran" if label == "constant" else "complete"
        run.write(record("lamp2", label, frame, fit_seconds=seconds, status=status), frame)
    assert {row.label: row.on_front for row in compare(run).pooled} == {
        **{"instruct": True, "dpo": True, "aloe": False, "llm_rec": False},
        "constant": None,
    }
