"""Weights & Biases: one run per comparison. Called last, so that nothing there can cost results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import Comparison, Row
from harness.reporting.anytime_plots import read_fits
from harness.reporting.wandb_session import Mode, log_run, wandb_table
from harness.results.store import Store

if TYPE_CHECKING:
    import wandb

_RECORDS = ("run.json", "comparison.*", "users.csv", "cells/*/*/*/*.json", "cells/*/*/*/samples.parquet")


def track(comparison: Comparison, out: Path, mode: Mode) -> Path | None:
    """Log a comparison that was written to `out`: tables, charts, plots, summary, config, and records as artifacts.

    Offline runs stand in OUT/wandb, need no account and can be sent later with `wandb sync`. Where W&B fails there is a
    warning: all results are on disk by then. Returns the folder of an offline run that is complete.
    """
    if mode == "disabled":
        return None
    return log_run(out, mode, comparison.spec.model_dump(mode="json"), lambda run: _log(run, comparison, out))


def _log(run: wandb.Run, comparison: Comparison, out: Path) -> None:
    import pandas as pd
    import wandb

    charts: dict[str, Any] = {
        "comparison": wandb_table(comparison.to_pandas()),
        "users": wandb_table(comparison.users_to_pandas()),
    }
    if checkpoints := _checkpoints(comparison, out):
        charts["anytime"] = wandb_table(pd.DataFrame(checkpoints))
    for task, metrics in comparison.higher_is_better.items():
        for metric in (*metrics, *comparison.likelihood_higher_is_better.get(task, ())):
            charts |= _bars(wandb, comparison, task, metric)
    for path in sorted((out / "plots").glob("*.png")):
        charts[f"plots/{path.stem}"] = wandb.Image(str(path))
    run.log(charts)
    for row in comparison.pooled:
        costs = ("fit_seconds", "reach_seconds", "regret_rate", "mean_loss")
        numbers = {**_values(row), **{name: getattr(row, name) for name in costs}}
        run.summary.update({f"{row.task}/{row.label}/{name}": x for name, x in numbers.items() if x is not None})
    data = _data_artifacts(out)
    artifact = wandb.Artifact(
        _artifact_name(out), type="comparison", metadata={"data": [artifact.name for artifact in data]}
    )
    for path in sorted(path for pattern in _RECORDS for path in out.glob(pattern)):
        artifact.add_file(str(path), name=path.relative_to(out).as_posix())
    for used in data:
        # W&B takes inputs only from its server: offline, the data stands among the outputs and in the metadata.
        run.log_artifact(used) if run.offline else run.use_artifact(used)
    run.log_artifact(artifact)


def _artifact_name(out: Path) -> str:
    """The same for every call on a run's folder: by it, `harness leaderboard add` names what a record was made from."""
    return f"comparison-{hashlib.sha256((out / 'run.json').read_bytes()).hexdigest()[:8]}"


def _checkpoints(comparison: Comparison, out: Path) -> list[dict[str, Any]]:
    """A line per evaluation of a run with marks; what is not `annealed` stands for no shorter budget."""
    if not comparison.spec.marks:
        return []
    return [
        {"task": task, "method": fit.label, "seed": fit.seed, **point.model_dump(exclude={"metrics"}), **point.metrics}
        for task in comparison.spec.tasks
        for fit in read_fits(Store(out), task)
        for point in fit.anytime.points
    ]


def _data_artifacts(out: Path) -> list[wandb.Artifact]:
    """One artifact per task that says which data a run was made on, by fingerprint; the data itself stays here."""
    import wandb

    seen = {(r.spec.task, r.spec.data_fingerprint): r for r in Store(out).records()}
    artifacts = []
    for (task, fingerprint), record in sorted(seen.items()):
        fields = ("task", "task_version", "split", "data_fingerprint", "users", "limit", "history", "selection")
        metadata = record.spec.model_dump(mode="json", include=set(fields))
        artifact = wandb.Artifact(f"data-{task}-{fingerprint[:8]}", type="dataset", metadata=metadata)
        with artifact.new_file("data.json") as file:
            file.write(json.dumps(metadata, indent=2, sort_keys=True))
        artifacts.append(artifact)
    return artifacts


def _values(row: Row) -> dict[str, float]:
    """Official metrics, then likelihoods."""
    return {**row.metrics, **{name: score.value for name, score in row.likelihood.items()}}


def _bars(module: Any, comparison: Comparison, task: str, metric: str) -> dict[str, Any]:
    rows = [row for row in comparison.pooled if row.task == task]
    bars = [[row.label, values[metric]] for row in rows if metric in (values := _values(row))]
    if not bars:
        return {}
    table = module.Table(columns=["method", metric], data=bars)
    return {f"{task}/{metric}": module.plot.bar(table, "method", metric, title=f"{task}: {metric}")}
