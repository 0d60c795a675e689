"""The note that a finished command leaves in its folder, by which the same command is known to have nothing to do."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.repeats.file_states import digest, snapshot
from harness.repeats.run_inputs import RunInputs
from harness.repeats.surroundings import surroundings
from harness.results.fingerprints import model_identity
from harness.results.locking import LOCK
from harness.results.writing import write_text

NOTE = "finished.json"
_NO_RESULTS = ("wandb", "run.lock.txt", LOCK, NOTE)  # what may change in a folder of results that stay as they are


class Finished(BaseModel):
    """`finished.json`: digests of what was asked, of what decided the results, and of the results' files."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    asked: str
    surroundings: dict[str, str]
    paths: list[str]  # of data, models and the like
    inputs: str
    hub: dict[str, str]  # fingerprints of models by their names on the hub
    results: str
    kept: dict[str, Any]  # what the command shows and no other file has


class Call:
    """One call of a command, made before anything is read that its results may depend on."""

    def __init__(self, command: str, asked: Mapping[str, Any]) -> None:
        self._asked = digest([command, {name: str(x) if isinstance(x, Path) else x for name, x in asked.items()}])
        # Libraries add to both while they are imported.
        self._path, self.environment = list(sys.path), dict(os.environ)
        self._surroundings = surroundings(self._path, self.environment)
        self._inputs: RunInputs | None = None
        self._before: tuple[str, dict[str, str]] = ("", {})

    def part(self, of: str, asked: Mapping[str, Any]) -> Call:
        """A call for a part of what this command does that has a folder of its own, such as a point of a sweep."""
        part = copy.copy(self)
        part._asked = digest([of, dict(asked)])
        part._inputs = None
        return part

    def finished(self, out: Path) -> Finished | None:
        """The note in `out`, if the same was asked and nothing at all has changed since; hold `out` meanwhile."""
        try:
            note = Finished.model_validate_json((out / NOTE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        asked = (note.asked, note.surroundings) == (self._asked, self._surroundings)
        if not asked or note.results != _results(out):
            return None
        inputs = RunInputs(frozenset(map(Path, note.paths)), frozenset(note.hub))
        return note if (note.inputs, note.hub) == _state(inputs) else None

    def reads(self, inputs: RunInputs | None) -> None:
        """Look at what the command is about to read; None says that nobody can tell what that is."""
        self._inputs = inputs
        if inputs is not None:
            self._before = _state(inputs)

    def leave(self, out: Path, kept: Mapping[str, Any] | None = None) -> None:
        """Note in `out`, which holds all results, that the command has finished, unless something changed meanwhile."""
        inputs = self._inputs
        if inputs is None or any(found.endswith("@unknown") for found in self._before[1].values()):
            return
        if _state(inputs) != self._before or surroundings(self._path, self.environment) != self._surroundings:
            return
        note = Finished(
            asked=self._asked,
            surroundings=self._surroundings,
            paths=sorted(map(str, inputs.paths)),
            inputs=self._before[0],
            hub=self._before[1],
            results=_results(out),
            kept=dict(kept or {}),
        )
        with suppress(OSError):  # on a full disk the command is repeated the long way
            write_text(out / NOTE, note.model_dump_json(indent=2))


def _state(inputs: RunInputs) -> tuple[str, dict[str, str]]:
    return snapshot(sorted(inputs.paths)), {name: model_identity(name)[0] for name in sorted(inputs.hub)}


def _results(out: Path) -> str:
    return snapshot([out], _NO_RESULTS)
