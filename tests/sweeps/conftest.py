"""Made-up results of sweeps: real comparisons of made-up answers, without any model."""

import pytest

from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_spec import Point
from tests import fabricate


@pytest.fixture
def results(tmp_path):
    """From the axes' values at each point and the quality of each method there."""

    def make(points, tasks=("lamp2",)):
        made = []
        for number, (values, qualities) in enumerate(points):
            folder = tmp_path / "out" / "points" / f"p{number}"
            store = fabricate.filled(folder, qualities, tasks)
            spec = store.read_run().spec.model_copy(update={"history": number})
            made.append(PointResult(Point(values, spec), folder, fabricate.compare(store)))
        return made

    return make
