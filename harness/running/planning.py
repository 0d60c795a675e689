"""What a run consists of, cell by cell, without loading a model: enough to tell which of its cells are finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from harness.api import Method, Task, TaskData
from harness.model.loading import choose_device, choose_dtype
from harness.registry import make_task, model_folders
from harness.results.fingerprints import config_files, data_fingerprint, digest, library_versions, model_identity
from harness.results.source_closure import engine_closure, plugin_closure
from harness.running.preparation import load_data
from harness.specs.resolve import build_method
from harness.specs.run_spec import CellSpec, MethodSpec, RunSpec

Parts = dict[str, dict[str, str]]


@dataclass(frozen=True)
class PlannedCell:
    """A cell to compute or to find; `parts` holds what the hashes of `spec` were made from."""

    spec: CellSpec
    parts: Parts
    task: Task
    method: Method


@dataclass(frozen=True)
class RunPlan:
    """The cells of a run in the order they will be computed, the data of each task, and where the model will be."""

    cells: list[PlannedCell]
    data: Mapping[str, list[TaskData]]
    device: torch.device


def plan_run(spec: RunSpec) -> RunPlan:
    """Resolve what a run asks for on this machine, read its data, and hash what decides its answers.

    Raises HarnessError for unusable data or devices.
    """
    device = torch.empty(0, device=choose_device(spec.device)).device  # "cuda" becomes "cuda:0"
    dtype = choose_dtype(spec.dtype, device)
    tasks: list[Task] = [make_task(name) for name in spec.tasks]
    methods = [(method, build_method(method, spec)) for method in spec.methods]
    data = {task.name: load_data(task, spec) for task in tasks}
    shared, parts = _shared(spec, dtype)
    cells = [
        _planned(spec, shared, parts, task, data[task.name], method, built, seed)
        for task in tasks
        for seed in spec.seeds
        for method, built in methods
    ]
    return RunPlan(cells, data, device)


def _shared(spec: RunSpec, dtype: torch.dtype) -> tuple[dict[str, object], Parts]:
    """(fields of CellSpec that all cells share, what their hashes were made from)."""
    (model, model_files), (embedder, embedder_files) = map(model_identity, model_folders(spec.model, spec.embedder))
    engine = engine_closure().modules
    same = (set(CellSpec.model_fields) & set(RunSpec.model_fields)) - {"split", "dtype", "fit_users", "batch_size"}
    rounded = dtype.itemsize < 4 or spec.quantization is not None  # else batches give what prompts give one by one
    fields = {
        **{key: getattr(spec, key) for key in same},
        "fit_users": spec.fit_users if spec.regime == "unseen" else None,
        "batch_size": spec.batch_size if rounded else None,
        "dtype": str(dtype).removeprefix("torch."),
        "model_fingerprint": model,
        "embedder_fingerprint": embedder,
        "engine_source": digest(engine),
    }
    parts = {"engine_source": engine, "model_fingerprint": model_files, "embedder_fingerprint": embedder_files}
    return fields, parts


def _planned(
    run: RunSpec,
    shared: dict[str, object],
    parts: Parts,
    task: Task,
    data: list[TaskData],
    method: MethodSpec,
    built: Method,
    seed: int,
) -> PlannedCell:
    evaluated, *fitted = data
    of_task, of_method = (plugin_closure(type(plugin).__module__) for plugin in (task, built))
    imported = engine_closure().libraries | of_task.libraries | of_method.libraries
    spec = CellSpec.model_validate(
        {
            **shared,
            "task": task.name,
            "task_version": task.version,
            "task_source": digest(of_task.modules),
            "data_fingerprint": data_fingerprint(evaluated),
            "fit_data_fingerprint": data_fingerprint(fitted[0]) if fitted else "",
            "split": evaluated.split,
            "method": method.name,
            "variant": method.variant,
            "config": built.config.model_dump(mode="json"),
            "config_files": config_files(built.config),
            "method_source": digest(of_method.modules),
            "libraries": library_versions(imported, run.quantization),
            "seed": seed,
        }
    )
    parts = {**parts, "task_source": of_task.modules, "method_source": of_method.modules}
    # A method of the cell's own: what a fit changes of it reaches no other cell.
    return PlannedCell(spec, parts, task, type(built)(built.config.model_copy(deep=True)))
