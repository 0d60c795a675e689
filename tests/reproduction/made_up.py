"""Made-up points of an experiment: records and samples without any model, in the layout of a real run."""

import json
from pathlib import Path

from harness.reporting.comparison_report import build
from harness.reproduction.experiment_spec import ExperimentSpec, experiments
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_spec import Point
from tests import fabricate


def experiment(name: str) -> ExperimentSpec:
    (found,) = experiments(name)
    return found


def point(root: Path, qualities: dict[str, float], tasks=("lamp2",), users=60, served=None, **values) -> PointResult:
    """A point whose methods answer right with these probabilities, and serve so many users, None for all."""
    store = fabricate.filled(root, qualities, tasks, users)
    for file in root.glob("cells/*/*/*/cell.json"):
        file.write_text(
            json.dumps(json.loads(file.read_text()) | {"users_served": users if served is None else served})
        )
    return PointResult(Point(values, store.read_run().spec), root, build(store))
