"""From records and samples to the comparison: scores, tests, ties, seeds and the table of a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.analysis.comparison import Comparison
from tests.fabricate import TWO, compare, filled, pair_of, record, row_of, run_spec, samples, store

CONTRACT = (
    *("task", "method", "variant", "seed", "status", "metrics", "interval", "vs_instruct", "parse_failures"),
    *("regret_rate", "users", "users_fitted", "users_served", "samples_used", "fit_seconds", "budget_seconds"),
    *("eval_seconds", "tokens_in", "tokens_out", "peak_memory_bytes"),
)


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
