"""What a sweep would compute: its points and their distinct cells. Loads no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.api import HarnessError
from harness.registry import make_task, method_class
from harness.results.fingerprints import digest, library_versions
from harness.results.records import CellRecord
from harness.results.source_closure import engine_closure, plugin_closure
from harness.specs.resolve import build_method
from harness.specs.run_spec import CellSpec, RunSpec, as_json
from harness.sweeps.sweep_spec import Point


def distinct_cells(points: Sequence[Point]) -> dict[str, float]:
    """Seconds that the fit of each cell may take, by what tells cells apart; a shared cell counts once."""
    return {key: budget for point in points for key, budget in planned_cells(point.spec)}


def planned_cells(spec: RunSpec) -> Iterator[tuple[str, float]]:
    """(what tells a run's cells apart, seconds that its fit may take) for each of them; equal keys are one cell."""
    same = (set(CellSpec.model_fields) & set(RunSpec.model_fields)) - {"method"}
    shared = spec.model_dump(mode="json", include={*same, "data"})
    if spec.regime == "seen":
        shared["fit_users"] = None  # the evaluated users are fitted on, however many others there are
    for method in spec.methods:
        config = as_json(build_method(method, spec).config.model_dump(mode="json"))
        for task in spec.tasks:
            for seed in spec.seeds:
                own = {**shared, "task": task, "seed": seed, "method": method.label, "config": config}
                yield json.dumps(own, sort_keys=True), spec.budget


def cells_left(cells: Iterable[str], records: Iterable[CellRecord]) -> list[str]:
    """Planned cells without one of the finished `records`, of the same settings, code and libraries.

    Data and models are not looked at.
    """
    today = [record.spec for record in records if _of_today(record.spec)]
    known = [spec.model_dump(mode="json") | {"method": spec.label} for spec in today]
    asked = {cell: json.loads(cell) for cell in cells}
    return [cell for cell, own in asked.items() if not any(_same(own, spec) for spec in known)]


def _same(cell: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    # The machine decides the first two, and a cell has a batch size only where its answers depend on it. Data with a
    # single split have a cell name that one, whatever was asked for; where data lie is in no cell.
    return all(spec[key] == value for key, value in cell.items() if key not in ("batch_size", "dtype", "split", "data"))


def _of_today(spec: CellSpec) -> bool:
    """Whether the code and the libraries that decide the cell's numbers are still the same."""
    try:
        plugins = type(make_task(spec.task)), method_class(spec.method)
    except HarnessError:  # a plug-in that is gone
        return False
    parts = [engine_closure(), *(plugin_closure(plugin.__module__) for plugin in plugins)]
    libraries = library_versions(frozenset[str]().union(*(part.libraries for part in parts)), spec.quantization)
    recorded = [spec.engine_source, spec.task_source, spec.method_source]
    return recorded == [digest(part.modules) for part in parts] and spec.libraries == libraries
