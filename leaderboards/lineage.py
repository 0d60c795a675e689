"""Where a record comes from, in W&B: data -> comparison -> leaderboard."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

Mode = Literal["disabled", "offline", "online"]
PROJECT = "personalization-harness"


def log_record(record: Path, run_folder: Path, mode: Mode) -> None:
    """Log a record as an artifact made from the run's comparison; the W&B run stands in RUN_FOLDER/wandb.

    W&B takes inputs only from its server: offline, the comparison's name is in the artifact's metadata.
    """
    if mode == "disabled":
        return
    import wandb

    comparison = f"comparison-{hashlib.sha256((run_folder / 'run.json').read_bytes()).hexdigest()[:8]}"
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_job_creation=True)
    with wandb.init(
        project=PROJECT,
        job_type="leaderboard",
        dir=str(run_folder.resolve()),
        mode=mode,
        save_code=False,
        settings=settings,
    ) as run:
        artifact = wandb.Artifact(f"leaderboard-{record.stem}", type="leaderboard", metadata={"comparison": comparison})
        artifact.add_file(str(record), name=record.name)
        if mode == "online":
            run.use_artifact(f"{comparison}:latest")
        run.log_artifact(artifact)
