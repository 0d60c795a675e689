"""Made-up points of an experiment: records and samples without any model, in the layout of a real run."""

from pathlib import Path

import fabricate

from harness.reporting.report import build
from harness.reproduction.spec import ExperimentSpec, experiments
from harness.sweeps.run import PointResult
from harness.sweeps.spec import Point


def experiment(name: str) -> ExperimentSpec:
    (found,) = experiments(name)
    return found


def point(root: Path, qualities: dict[str, float], tasks=("lamp2",), users=60, **values) -> PointResult:
    """A point whose methods answer right with these probabilities."""
    store = fabricate.filled(root, qualities, tasks, users)
    return PointResult(Point(values, store.read_run().spec), root, build(store))
