"""A finished `harness compare`: noted where all cells have ended, and read where nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.analysis.comparison import Comparison
from harness.api import HarnessError
from harness.repeats.finished import NOTE, Call
from harness.reporting.stored_comparison import read_comparison, reads_back
from harness.results.disk import require_folder
from harness.results.locking import alone


def finished_comparison(call: Call, out: Path) -> Comparison | None:
    """What the run in `out` came to, if the same call finished there and nothing has changed since.

    Raises HarnessError if another run is using the folder, or if nothing can be written there.
    """
    if not (out / NOTE).exists():
        return None
    with alone(require_folder(out)):
        return read_comparison(out) if call.finished(out) else None


def leave_comparison(call: Call, comparison: Comparison, out: Path) -> None:
    """Note that the call has finished in `out`, unless cells are to be tried again when it is repeated."""
    if not all_ended([comparison]):
        return
    with suppress(HarnessError), alone(out):  # another run that has the folder by now leaves its own note
        if reads_back(comparison, out):
            call.leave(out)


def all_ended(comparisons: Sequence[Comparison]) -> bool:
    """Whether every cell has its answers."""
    return all(len(found.rows) == found.spec.size and all(row.metrics for row in found.rows) for found in comparisons)
