"""Weights & Biases for an experiment: one run with its table, its claims, its plot and its records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from harness.reporting.wandb_session import Mode, log_run, wandb_table
from harness.reproduction.answer import answer, short_verdicts
from harness.reproduction.experiment_spec import common
from harness.reproduction.glance import glance
from harness.reproduction.result import Reproduction

if TYPE_CHECKING:
    import wandb


def track_result(result: Reproduction, folder: Path, mode: Mode) -> None:
    """Log what `write` left in `folder` as one run of type `experiment`; verdicts and the answer are in the summary.

    Where W&B fails there is a warning: all results are on disk by then.
    """
    config = {**result.settings, "experiment": result.name, "left_out": result.left_out}
    log_run(folder, mode, config, lambda run: _log(run, result, folder), kind="experiment")


def _log(run: wandb.Run, result: Reproduction, folder: Path) -> None:
    import wandb

    claims = [
        {"claim": claim.quote, "claim_verdict": claim.verdict, **test.model_dump()}
        for claim in result.claims
        for test in claim.tests
    ]
    frames = {result.name: pd.read_csv(folder / f"{result.name}.csv"), f"{result.name}/claims": pd.DataFrame(claims)}
    for task in dict.fromkeys(test.task for test in result.tests):
        shown = glance(result, task, common().names)
        frames[f"{result.name}/glance/{task}"] = pd.DataFrame(shown.rows, columns=shown.columns)
    tables = {name: wandb_table(frame) for name, frame in frames.items() if len(frame.columns)}
    run.log({**tables, f"plots/{result.name}": wandb.Image(str(folder / f"{result.name}.png"))})
    run.summary.update({f"{claim.model}: {claim.quote}": claim.verdict for claim in result.claims})
    if lines := [*answer([result], common().names), *short_verdicts([result])]:
        run.summary["answer"] = "\n".join(lines)
    artifact = wandb.Artifact(f"reproduction-{result.name}-{run.id}", type="experiment")
    for suffix in ("json", "csv", "md", "png"):
        artifact.add_file(str(folder / f"{result.name}.{suffix}"))
    run.log_artifact(artifact)
