"""Where a record comes from, in W&B: data -> comparison -> leaderboard."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from harness.api import HarnessError

Mode = Literal["disabled", "offline", "online"]
PROJECT = "personalization-harness"


def log_record(record: Path, run_folder: Path, mode: Mode) -> None:
    """Log a record as an artifact made from the run's comparison; the W&B run stands in RUN_FOLDER/wandb.

    W&B takes inputs only from its server: offline, the comparison's name is in the artifact's metadata. Raises
    HarnessError where W&B refuses.
    """
    if mode == "disabled":
        return
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B would report its use to its server, offline too
    import wandb

    comparison = f"comparison-{hashlib.sha256((run_folder / 'run.json').read_bytes()).hexdigest()[:8]}"
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_job_creation=True)
    try:
        with wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,  # as for the run's own
            job_type="leaderboard",
            dir=str(run_folder.resolve()),
            mode=mode,
            save_code=False,
            settings=settings,
        ) as run:
            metadata = {"comparison": comparison}
            artifact = wandb.Artifact(f"leaderboard-{record.stem}", type="leaderboard", metadata=metadata)
            artifact.add_file(str(record), name=record.name)
            if mode == "online":
                run.use_artifact(f"{comparison}:latest")
            run.log_artifact(artifact)
    except (wandb.errors.Error, ValueError) as error:
        raise HarnessError(
            f"W&B did not take the record: {' '.join(str(error).split())} It is written, as {record}. Check the key, "
            "the network and the WANDB_* variables, and repeat the command."
        ) from error
