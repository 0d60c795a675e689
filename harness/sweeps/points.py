"""Compute a sweep's points. A cell that several points need, or that an earlier call left, is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.analysis.comparison import Comparison
from harness.executors.ray_pool import Executor
from harness.library import run
from harness.repeats.finished import Call
from harness.repeats.finished_run import finished_comparison, leave_comparison
from harness.repeats.run_inputs import run_inputs
from harness.reporting.comparison_report import build, write
from harness.results.discarding import discard
from harness.results.locking import LOCK, alone
from harness.results.store import Store
from harness.running.experiment import Listener
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_spec import Point


class SweepListener(Listener, Protocol):
    """Who is told how a sweep goes."""

    def point(self, number: int, total: int, label: str) -> None:
        """A point, counted from 1, has begun."""


def run_points(
    points: Sequence[Point],
    out: Path,
    listener: SweepListener,
    fresh: bool = False,
    pool: Path | None = None,
    executor: Executor = "local",
    call: Call | None = None,
) -> list[PointResult]:
    """Run every point into OUT/points/<slug>/, an ordinary run's folder each; finished cells are shared in `pool`.

    `pool` defaults to OUT/cells. `fresh` discards the points and the pool first, see `discard`. The executor "ray" has
    workers compute all cells before the first point is put together; a run must hold the pool's parent, see `alone`.
    `call` is that of the command: points that have finished under the same and of which nothing has changed are read as
    they are.
    """
    pool = pool or out / "cells"
    if fresh:
        for lock in sorted((out / "points").glob(f"*/{LOCK}")):
            with alone(lock.parent):  # refused while `harness run` is at work there
                pass
        discard(out / "points", pool)
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
        elif call is None:
            comparison = run(point.spec, store.root, listener=listener, pool=pool)
        else:
            comparison = _unless_finished(point, store, listener, pool, call)
        results.append(PointResult(point, store.root, comparison))
    return results


def _unless_finished(point: Point, store: Store, listener: SweepListener, pool: Path, command: Call) -> Comparison:
    call = command.part("point", point.spec.model_dump(mode="json"))
    comparison = finished_comparison(call, store.root)
    if comparison is not None:
        listener.stage("Finished, and nothing that it was made from has changed")
        return comparison
    call.reads(run_inputs([point.spec]))
    comparison = run(point.spec, store.root, listener=listener, pool=pool)
    leave_comparison(call, comparison, store.root)
    return comparison
