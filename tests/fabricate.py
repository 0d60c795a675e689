"""Made-up runs for tests of the comparison and all that shows it: records and samples without any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis.build_comparison import compare as compare_cells
from harness.analysis.build_comparison import read_cells
from harness.analysis.comparison import Comparison, PairTest, Row
from harness.analysis.scores import score
from harness.api import Metric, Status
from harness.reporting.conclusions import answer_in_words
from harness.results.records import CellRecord, RunRecord
from harness.results.store import Store
from harness.results.writing import write_text
from harness.specs.run_spec import CellSpec, RunSpec, parse_methods

HISTORY = (0, 1, 4, 16, 64, 65)  # items of one user after the other
LABELS = ("comedy", "classic", "sci-fi")


def _f1_counts(prediction: str, gold: str) -> list[float]:
    return [
        float(flag) for label in LABELS for flag in (prediction == label == gold, prediction == label, gold == label)
    ]


def _macro_f1(means: np.ndarray) -> np.ndarray:
    hits, predicted, actual = (means[..., start::3] for start in range(3))
    return (2 * hits / np.maximum(predicted + actual, 1e-12)).mean(-1)


ACCURACY = Metric("accuracy", True, lambda p, g: [float(p == g)], lambda means: means[..., 0])
F1 = Metric("f1", True, _f1_counts, _macro_f1)
MAE = Metric("mae", False, lambda p, g: [abs(float(p) - float(g))], lambda means: means[..., 0])
RMSE = Metric("rmse", False, lambda p, g: [(float(p) - float(g)) ** 2], lambda means: np.sqrt(means[..., 0]))
METRICS = {"lamp2": (ACCURACY, F1), "lamp3": (MAE, RMSE)}
TWO = {"instruct": 0.2, "dpo": 0.9}
CLEAR = {**TWO, "aloe": 0.25}


def run_spec(methods: str = "instruct,chameleon,dpo", tasks: Sequence[str] = ("lamp2",), **fields: object) -> RunSpec:
    return RunSpec(methods=parse_methods(methods), tasks=tuple(tasks), budget=60, model="tiny-llama", **fields)


def samples(task: str, quality: float, users: int = 40, per_user: int = 2, seed: int = 0) -> pd.DataFrame:
    """Answers that are right with probability `quality`; the same gold answers and users whatever the seed."""
    golds, rng = np.random.default_rng(99), np.random.default_rng(seed)
    choices = LABELS if task == "lamp2" else ("1", "2", "3", "4", "5")
    gold = golds.choice(choices, users * per_user)
    prediction = np.where(rng.random(len(gold)) < quality, gold, rng.choice(choices, len(gold)))
    return pd.DataFrame(
        {
            "user_id": [f"u{index // per_user}" for index in range(len(gold))],
            "query_id": [f"q{index}" for index in range(len(gold))],
            "prompt_sha256": "0" * 64,
            "output": prediction,
            "prediction": prediction,
            "gold": gold,
            "parsed": True,
            "history_items": [HISTORY[index // per_user % len(HISTORY)] for index in range(len(gold))],
        }
    )


def record(
    task: str,
    label: str,
    frame: pd.DataFrame | None,
    seed: int = 0,
    status: Status = "complete",
    fit_seconds: float = 1.0,
    reason: str = "",
) -> CellRecord:
    method = parse_methods(label)[0]
    spec = CellSpec(
        task=task,
        task_version="1",
        data_fingerprint="d",
        split="dev",
        method=method.name,
        variant=method.variant,
        config=dict(method.settings),
        method_source="s",
        model="tiny-llama",
        model_fingerprint="m",
        dtype="float32",
        quantization=None,
        seed=seed,
        budget=60,
        users=None,
        limit=None,
        regime="seen",
        eval_history="own",
        history=10,
        selection="pca",
        fit_users=100,
        supervision=1,
        keep_leaks=False,
        embedder="model",
    )
    metrics = {} if frame is None else score(frame, METRICS[task]).values(METRICS[task])
    return CellRecord(
        spec=spec,
        status=status,
        reason=reason,
        metrics=metrics,
        fit_seconds=fit_seconds,
        budget_seconds=60,
        eval_seconds=2,
        users_fitted=10,
        users_served=12,
        serves_newcomers=False,
        fit_tokens_in=1000,
        fit_tokens_out=200,
        fit_bytes=6 * 2**10,
        samples_used=20,
        tokens_in=12345,
        tokens_out=678,
        peak_memory_bytes=3 * 2**28,
        started_at=f"2026-01-01T00:00:0{seed}",
    )


def store(root: Path, spec: RunSpec) -> Store:
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / "run.json", RunRecord(spec=spec, hardware={}).model_dump_json())
    return Store(root)


def compare(store: Store) -> Comparison:
    cells, notes = read_cells(store, METRICS)
    return compare_cells(store.read_run().spec, cells, METRICS, notes)


def answer(comparison: Comparison) -> str:
    """What a report says of it in words."""
    return "\n".join(answer_in_words(comparison))


def filled(root: Path, qualities: dict[str, float], tasks: Sequence[str] = ("lamp2",), users: int = 40) -> Store:
    """A store with one complete cell per method and task; later methods take longer to fit."""
    result = store(root, run_spec(",".join(qualities), tasks))
    for task in tasks:
        for number, (label, quality) in enumerate(qualities.items()):
            frame = samples(task, quality, users, seed=number)
            result.write(record(task, label, frame, fit_seconds=float(number * 7)), frame)
    return result


def row_of(comparison: Comparison, label: str, task: str = "lamp2") -> Row:
    """The row of a method on a task, its seeds pooled."""
    return next(row for row in comparison.pooled if (row.label, row.task) == (label, task))


def pair_of(comparison: Comparison, a: str, b: str, metric: str = "accuracy") -> PairTest:
    """The test of two methods in one metric."""
    return next(test for test in comparison.comparisons if (test.a, test.b, test.metric) == (a, b, metric))
