"""What a sweep would compute: its points and their distinct cells. Loads no model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from harness.specs.resolve import build_method
from harness.specs.run_spec import CellSpec, RunSpec, as_json
from harness.sweeps.sweep_spec import Point


def distinct_cells(points: Sequence[Point]) -> dict[str, float]:
    """Seconds that the fit of each cell may take, by what tells cells apart; a shared cell counts once."""
    return {key: budget for point in points for key, budget in planned_cells(point.spec)}


def planned_cells(spec: RunSpec) -> Iterator[tuple[str, float]]:
    """(what tells a run's cells apart, seconds that its fit may take) for each of them; equal keys are one cell."""
    same = sorted((set(CellSpec.model_fields) & set(RunSpec.model_fields)) - {"method"})
    shared = spec.model_dump(mode="json", include=set(same))
    if spec.regime == "seen":
        shared["fit_users"] = None  # the evaluated users are fitted on, however many others there are
    for method in spec.methods:
        config = as_json(build_method(method, spec).config.model_dump(mode="json"))
        for task in spec.tasks:
            for seed in spec.seeds:
                own = {**shared, "task": task, "seed": seed, "method": method.label, "config": config}
                yield json.dumps(own, sort_keys=True), spec.budget
