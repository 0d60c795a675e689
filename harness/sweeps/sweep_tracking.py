"""Weights & Biases for a sweep: one parent run with the table and the plots of all points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.reporting.tracking import Mode, logged
from harness.sweeps.points import PointResult
from harness.sweeps.sweep_report import Written
from harness.sweeps.sweep_spec import SweepSpec
from harness.sweeps.sweep_table import frame


def track_sweep(sweep: SweepSpec, results: Sequence[PointResult], written: Written, out: Path, mode: Mode) -> None:
    """Log the sweep's table, plots and files as one run of type `sweep`; its scores are in the summary by point."""
    if mode == "disabled":
        return
    import wandb

    lines = frame(results)
    with logged(out, mode, sweep.model_dump(mode="json", exclude_unset=True), kind="sweep") as run:
        data = lines.astype(object).where(lines.notna(), None)
        charts = {"sweep": wandb.Table(columns=list(data.columns), data=data.to_numpy())}
        run.log(charts | {f"plots/{path.stem}": wandb.Image(str(path)) for path in written.plots})
        scores = lines.dropna(subset="value")
        keys = scores["point"] + "/" + scores["task"] + "/" + scores["method"] + "/" + scores["metric"]
        run.summary.update(dict(zip(keys, scores["value"].astype(float), strict=True)))
        artifact = wandb.Artifact(f"sweep-{run.id}", type="sweep")
        for path in written.paths:
            artifact.add_file(str(path), name=path.relative_to(out).as_posix())
        run.log_artifact(artifact)
