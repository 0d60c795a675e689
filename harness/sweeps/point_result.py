"""What a point of a sweep came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.analysis.comparison import Comparison
from harness.sweeps.sweep_spec import Point


@dataclass(frozen=True)
class PointResult:
    """A point, the folder of its run, and what its methods came to."""

    point: Point
    folder: Path
    comparison: Comparison
