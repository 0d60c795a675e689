"""Compute a sweep's points. A cell that several points need, or that an earlier call left, is computed once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.analysis.comparison import Comparison
from harness.executors.ray_pool import Executor
from harness.library import run
from harness.reporting.comparison_report import build, write
from harness.results.store import Store
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
    executor: Executor = "local",
) -> list[PointResult]:
    """Run every point into OUT/points/<slug>/, an ordinary run's folder each; finished cells are shared in `pool`.

    `pool` defaults to OUT/cells. `fresh` discards the points and the pool first. The executor "ray" has workers compute
    all cells before the first point is put together; a run must hold the pool's parent, see `alone`.
    """
    pool = pool or out / "cells"
    if fresh:
        for folder in (out / "points", pool):
            shutil.rmtree(folder, ignore_errors=True)
    stores = [Store(out / "points" / point.slug, pool) for point in points]
    if executor == "ray":
        from harness.executors.distributed import compute_points

        compute_points([(point.spec, store) for point, store in zip(points, stores, strict=True)], pool, listener)
    results = []
    for number, (point, store) in enumerate(zip(points, stores, strict=True), start=1):
        listener.point(number, len(points), point.label or point.slug)
        if executor == "ray":
            comparison = build(store)
            write(comparison, store.root)
        else:
            comparison = run(point.spec, store.root, listener=listener, pool=pool)
        results.append(PointResult(point, store.root, comparison))
    return results
