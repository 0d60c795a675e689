"""The note beside an offline W&B run by which a repeated command knows that its results are in that run already."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.repeats.file_states import digest
from harness.repeats.finished import NOTE, Call
from harness.reporting.wandb_session import mode_named
from harness.results.writing import write_text

_TRACKED = Path("wandb", "tracked.json")
_NO_SETTINGS = ("WANDB_MODE", "WANDB_ERROR_REPORTING", "WANDB_SERVICE")


class Tracked(BaseModel):
    """`wandb/tracked.json`: an offline run, and digests of the note and of the settings that it was made under."""

    model_config = ConfigDict(extra="forbid")

    run: str
    note: str
    settings: str


def tracked(call: Call, out: Path, wandb: str) -> Path | None:
    """The offline run in OUT/wandb that holds what the note in `out` says; None where the call asks for another one.

    `wandb` is a mode as the user wrote it. Imports nothing of W&B.
    """
    if mode_named(wandb) != "offline":
        return None
    try:
        found = Tracked.model_validate_json((out / _TRACKED).read_text(encoding="utf-8"))
        same = (found.note, found.settings) == (_note(out), _settings(call))
    except (OSError, ValueError):
        return None
    run = (out / "wandb" / found.run).resolve()
    return run if same and run.is_dir() else None


def leave_tracked(call: Call, out: Path, run: Path | None) -> None:
    """Note that `run`, complete, holds what the note in `out` says; nothing without a run, or without that note."""
    if run is None or not (out / NOTE).exists():
        return
    with suppress(OSError):  # what cannot be noted is logged again
        found = Tracked(run=run.name, note=_note(out), settings=_settings(call))
        write_text(out / _TRACKED, found.model_dump_json(indent=2))


def _note(out: Path) -> str:
    return hashlib.sha256((out / NOTE).read_bytes()).hexdigest()


def _settings(call: Call) -> str:
    stated = (item for item in call.environment.items() if item[0].startswith("WANDB_"))
    return digest(sorted(item for item in stated if item[0] not in _NO_SETTINGS))
