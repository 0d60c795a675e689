"""Weights & Biases: one run per comparison. Called last, so that nothing there can cost results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from harness.analysis.comparison import Comparison
from harness.api import HarnessError
from harness.reporting.anytime_plots import read_fits
from harness.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import wandb

Mode = Literal["disabled", "offline", "online"]
PROJECT = "personalization-harness"
_RECORDS = ("run.json", "comparison.*", "users.csv", "cells/*/*/*/*.json", "cells/*/*/*/samples.parquet")


def require_mode(text: str) -> Mode:
    """The mode of that name. Raises HarnessError for another, and for online without a key, before any work is done."""
    for mode in get_args(Mode):
        if text == mode:
            if mode == "online":
                _require_key()
            return cast(Mode, mode)
    raise HarnessError(f"Unknown W&B mode '{text}'. Give --wandb {', '.join(get_args(Mode))}.")


def track(comparison: Comparison, out: Path, mode: Mode, project: str = PROJECT) -> None:
    """Log a comparison that was written to `out`: tables, charts, plots, summary, config, and records as artifacts.

    Offline runs stand in OUT/wandb, need no account and can be sent later with `wandb sync`. Raises HarnessError if W&B
    refuses; all results are on disk by then.
    """
    if mode != "disabled":
        with logged(out, mode, comparison.spec.model_dump(mode="json"), project) as run:
            _log(run, comparison, out)


@contextmanager
def logged(
    out: Path, mode: Mode, config: dict[str, Any], project: str = PROJECT, kind: str | None = None
) -> Iterator[wandb.Run]:
    """A run whose files stand in OUT/wandb. Raises HarnessError if W&B refuses; all results are on disk by then."""
    import wandb

    if mode == "online":
        _require_key()
    try:
        with _folders(out.resolve() / "wandb"), _start(out, mode, config, project, kind) as run:
            yield run
    except wandb.errors.Error as error:
        raise HarnessError(
            f"W&B did not take the run: {error}. The results are complete in {out}; use --wandb offline, or check the "
            "key and the network and repeat the command with the same --out."
        ) from error


def _require_key() -> None:
    import wandb

    if not wandb.login(prompt=False):
        raise HarnessError(
            "W&B has no API key. Run `wandb login` or set WANDB_API_KEY, or use --wandb offline: it needs no account."
        )


@contextmanager
def _folders(root: Path) -> Iterator[None]:
    """Keep staged artifacts, caches and settings beside the run: an offline run is whole, and home may be read-only."""
    root.mkdir(parents=True, exist_ok=True)
    ours = {f"WANDB_{name}_DIR": str(root / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update({name: path for name, path in ours.items() if before[name] is None})
    try:
        yield
    finally:
        for name, path in before.items():
            if path is None:
                os.environ.pop(name, None)


def _start(out: Path, mode: Mode, config: dict[str, Any], project: str, kind: str | None) -> wandb.Run:
    import wandb

    return wandb.init(
        project=project,
        name=out.resolve().name,
        dir=str(out.resolve()),  # a process of W&B that was there before may stand in another folder
        mode=mode,
        config=config,
        job_type=kind,
        reinit="create_new",  # a run that the caller has open stays as it is
        save_code=False,
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_job_creation=True),
    )


def _log(run: wandb.Run, comparison: Comparison, out: Path) -> None:
    import pandas as pd
    import wandb

    charts: dict[str, Any] = {
        "comparison": _table(comparison.to_pandas()),
        "users": _table(comparison.users_to_pandas()),
    }
    if checkpoints := _checkpoints(comparison, out):
        charts["anytime"] = _table(pd.DataFrame(checkpoints))
    for task, metrics in comparison.higher_is_better.items():
        for metric in metrics:
            charts |= _bars(wandb, comparison, task, metric)
    for path in sorted((out / "plots").glob("*.png")):
        charts[f"plots/{path.stem}"] = wandb.Image(str(path))
    run.log(charts)
    for row in comparison.pooled:
        numbers = {**row.metrics, "fit_seconds": row.fit_seconds, "regret_rate": row.regret_rate}
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


def _bars(module: Any, comparison: Comparison, task: str, metric: str) -> dict[str, Any]:
    bars = [[row.label, row.metrics[metric]] for row in comparison.pooled if row.task == task and row.metrics]
    if not bars:
        return {}
    table = module.Table(columns=["method", metric], data=bars)
    return {f"{task}/{metric}": module.plot.bar(table, "method", metric, title=f"{task}: {metric}")}


def _table(frame: pd.DataFrame) -> wandb.Table:
    import wandb

    data = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(data.columns), data=data.to_numpy())
