"""Anytime points: what a fit would have answered at marks of its budget, had it been stopped there.

A checkpoint is not annealed: its learning rate was set for the whole budget, so it stands for no shorter one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.api import HarnessError, Personalizer
from harness.results.store import Store
from harness.results.writing import write_text
from harness.running.clock import BudgetClock
from harness.specs.run_spec import CellSpec

FILE = "anytime.json"


class Point(BaseModel):
    """An evaluation: of a checkpoint, or of the whole fit (`annealed`, `mark` None). Seconds.

    `seconds` is the fit's clock; `making` is what was spent, off that clock, on turning the state into an answer. The
    answer would have been ready after both.
    """

    model_config = ConfigDict(extra="forbid")

    mark: float | None
    seconds: float
    making: float
    samples_used: int
    metrics: dict[str, float] = {}
    annealed: bool = False

    @property
    def ready(self) -> float:
        """Seconds after which a fit that stopped here would have answered."""
        return self.seconds + self.making


class Missing(BaseModel):
    """A mark without a point, and why."""

    model_config = ConfigDict(extra="forbid")

    mark: float
    reason: str


class Anytime(BaseModel):
    """`anytime.json` of a cell: its checkpoints by time, then the whole fit. Marks in seconds."""

    model_config = ConfigDict(extra="forbid")

    points: list[Point]
    missing: list[Missing]


class Checkpoints:
    """Saves a fit's state at the first occasion after each mark, with the fit's clock paused."""

    def __init__(self, marks: tuple[float, ...], folder: Path, clock: BudgetClock) -> None:
        """`marks` in seconds, rising; `folder` will hold a folder per checkpoint."""
        self.points: list[tuple[Point, Path]] = []
        self._waiting = list(marks)
        self._skipped: list[float] = []
        self._offered = False
        self._folder = folder
        self._clock = clock

    def offer(self, samples: int, make: Callable[[], Personalizer]) -> None:
        """Save what `make` gives if a mark was passed; where several were, it stands for the last of them."""
        self._offered = True
        seconds = self._clock.elapsed()
        passed = [mark for mark in self._waiting if mark <= seconds]
        if not passed:
            return
        del self._waiting[: len(passed)]
        self._skipped += passed[:-1]
        folder = self._folder / f"checkpoint-{len(self.points)}"
        folder.mkdir(parents=True)
        with self._clock.paused():
            watch = BudgetClock(float("inf"), self._clock.now)
            make().save(folder)
            making = watch.elapsed()
        self.points.append((Point(mark=passed[-1], seconds=seconds, making=making, samples_used=samples), folder))

    def missing(self) -> list[Missing]:
        """The marks without a checkpoint, after the fit has ended."""
        late = f"the fit ended after {self._clock.elapsed():.1f} s" if self._offered else "the fit has no checkpoints"
        skipped = "the fit had no checkpoint between this mark and the next"
        return [Missing(mark=mark, reason=skipped) for mark in self._skipped] + [
            Missing(mark=mark, reason=late) for mark in self._waiting
        ]


def write(store: Store, cell: CellSpec, anytime: Anytime) -> None:
    """Write a cell's `anytime.json`."""
    write_text(store.cell_dir(cell) / FILE, anytime.model_dump_json(indent=2))


def read(store: Store, cell: CellSpec) -> Anytime | None:
    """A cell's anytime points; None for a cell that was computed without marks. Raises HarnessError for a bad file."""
    path = store.cell_dir(cell) / FILE
    if not path.exists():
        return None
    try:
        return Anytime.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HarnessError(
            f"Cannot read {path}: {str(error).splitlines()[0]}. Repeat the command that made it to compute the cell "
            "again."
        ) from error
