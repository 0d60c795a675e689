"""Weights & Biases for a sweep: one parent run with the table and the plots of all points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.reporting.wandb_session import Mode, log_run, wandb_table
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_report import Written
from harness.sweeps.sweep_spec import SweepSpec
from harness.sweeps.sweep_table import frame

if TYPE_CHECKING:
    import pandas as pd
    import wandb


def track_sweep(
    sweep: SweepSpec, results: Sequence[PointResult], written: Written, out: Path, mode: Mode
) -> Path | None:
    """Log the sweep's table, plots and files as one run of type `sweep`; its scores are in the summary by point.

    Where W&B fails there is a warning: all results are on disk by then. Returns the folder of an offline run that is
    complete.
    """
    if mode == "disabled":
        return None
    config = sweep.model_dump(mode="json", exclude_unset=True)
    return log_run(out, mode, config, lambda run: _log(run, frame(results), written, out), kind="sweep")


def _log(run: wandb.Run, lines: pd.DataFrame, written: Written, out: Path) -> None:
    import wandb

    run.log({"sweep": wandb_table(lines)} | {f"plots/{path.stem}": wandb.Image(str(path)) for path in written.plots})
    scores = lines.dropna(subset="value")
    keys = scores["point"] + "/" + scores["task"] + "/" + scores["method"] + "/" + scores["metric"]
    run.summary.update(dict(zip(keys, scores["value"].astype(float), strict=True)))
    artifact = wandb.Artifact(f"sweep-{run.id}", type="sweep")
    for path in written.paths:
        artifact.add_file(str(path), name=path.relative_to(out).as_posix())
    run.log_artifact(artifact)
