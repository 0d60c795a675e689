"""Compute a sweep's points. A cell that several points need, or that an earlier call left, is computed once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.analysis.comparison import Comparison
from harness.library import run
from harness.running.experiment import Listener
from harness.sweeps.sweep_spec import Point


class SweepListener(Listener, Protocol):
    """Who is told how a sweep goes."""

    def point(self, number: int, total: int, label: str) -> None:
        """A point, counted from 1, has begun."""


@dataclass(frozen=True)
class PointResult:
    """A point, the folder of its run, and what its methods came to."""

    point: Point
    folder: Path
    comparison: Comparison


def run_points(
    points: Sequence[Point],
    out: Path,
    listener: SweepListener,
    fresh: bool = False,
    pool: Path | None = None,
) -> list[PointResult]:
    """Run every point into OUT/points/<slug>/, an ordinary run's folder each; finished cells are shared in `pool`.

    `pool` defaults to OUT/cells. `fresh` discards the points and the pool first.
    """
    pool = pool or out / "cells"
    if fresh:
        for folder in (out / "points", pool):
            shutil.rmtree(folder, ignore_errors=True)
    results = []
    for number, point in enumerate(points, start=1):
        listener.point(number, len(points), point.label or point.slug)
        folder = out / "points" / point.slug
        results.append(PointResult(point, folder, run(point.spec, folder, listener=listener, pool=pool)))
    return results
