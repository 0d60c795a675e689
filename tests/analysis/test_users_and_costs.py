"""For whom and at what cost: users better or worse off, scores by history, the next user's cost, the Pareto front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fabricate import TWO, compare, filled, record, row_of, run_spec, samples, store


def test_regret_counts_users_not_queries(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo"))
    base = samples("lamp2", 1.0, users=10, per_user=2)
    worse = base.assign(prediction=base["prediction"].mask(base["user_id"].isin(["u0", "u3"]), "no tag"))
    run.write(record("lamp2", "instruct", base), base)
    run.write(record("lamp2", "dpo", worse), worse)
    row = row_of(compare(run), "dpo")
    assert row.regret_rate == pytest.approx(0.2)
    assert row.mean_loss == pytest.approx(1.0)  # of those two users, not of all
    assert row_of(compare(run), "instruct").mean_loss is None
    assert row.worst_decile == 0
    assert row.per_user_mean == pytest.approx(0.8)


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


def test_the_front_holds_what_nothing_as_fast_matches_and_neither_overruns_nor_controls(tmp_path: Path) -> None:
    run = store(tmp_path, run_spec("instruct,dpo,aloe,llm_rec,chameleon,constant"))
    for label, quality, seconds in (
        *(("instruct", 0.3, 0.0), ("dpo", 0.9, 5.0), ("aloe", 0.9, 9.0), ("llm_rec", 0.5, 7.0)),
        *(("chameleon", 1.0, 70.0), ("constant", 1.0, 0.0)),
    ):
        frame = samples("lamp2", quality)
        status = "overran" if label == "chameleon" else "complete"
        run.write(record("lamp2", label, frame, fit_seconds=seconds, status=status), frame)
    assert {row.label: row.on_front for row in compare(run).pooled} == {
        **{"instruct": True, "dpo": True, "aloe": False, "llm_rec": False},
        **{"chameleon": None, "constant": None},
    }
