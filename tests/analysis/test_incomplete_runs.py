"""The comparison of a run whose parts are missing, failed, late, damaged or few."""

from __future__ import annotations

from pathlib import Path

from harness.analysis.build_comparison import compare as compare_cells
from tests.fabricate import METRICS, TWO, compare, filled, pair_of, record, row_of, run_spec, samples, store


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
