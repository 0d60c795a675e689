"""What a worker does: says which cells a run has on its machine, and computes one at a time. Needs no Ray.

What a cell is, its device, dtype and hash, is settled where it is computed, so that a head without a GPU may send cells
to workers with one. What crosses the wire is JSON and plain values.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from harness.api import HarnessError
from harness.executors.ray_pool import Spent
from harness.model.lm import HuggingFaceModel, load
from harness.results.disk import is_full
from harness.results.locking import LOCK
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.running.experiment import DeviceLost, Experiment
from harness.running.progress import Quiet
from harness.specs.run_spec import CellSpec, RunSpec


class RemoteCell(BaseModel):
    """A planned cell, and what `Store.look` says of it in the folder that the workers fill."""

    spec: CellSpec
    parts: dict[str, dict[str, str]]
    finished: bool
    why: str


class RemotePlan(BaseModel):
    """A run's cells on the workers' machine, in the order of `plan_run`."""

    machine: dict[str, Any]
    cells: list[RemoteCell]


class UnfitNode(HarnessError):
    """This node can compute no cell of the run: every one that it is given would end so."""


class Computed(BaseModel):
    """A cell's record, whether it was there already, and what the worker was warned of."""

    record: CellRecord
    reused: bool
    warnings: list[str]


class CellWorker:
    """Computes cells into `out`/cells as the local executor does. The model loaded last, and a run's data, are kept.

    Relative paths mean what they mean in `working_folder`, where it exists. `shared`: other runs, those of `harness
    run`, may compute cells for `out`/cells meanwhile.
    """

    def __init__(self, out: str, working_folder: str, threads: int, save_fits: bool, shared: bool) -> None:
        from harness.quiet import quieten_libraries

        quieten_libraries()
        torch.set_num_threads(threads)  # Ray gives its workers as many as they have processors
        if os.path.isdir(working_folder):
            os.chdir(working_folder)
        if threading.current_thread() is threading.main_thread():
            # Ray would raise SystemExit in the middle of a fit, which would look like the method's own failure.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._out = Path(out)
        self._save_fits = save_fits
        self._shared = shared
        self._loaded: tuple[tuple[Any, ...], HuggingFaceModel] | None = None
        self._experiment = lru_cache(maxsize=1)(self._new_experiment)

    def plan(self, spec: str) -> str:
        """RemotePlan of a RunSpec, both as JSON; loads no model. Raises HarnessError for unusable data or devices."""
        if not (self._out / LOCK).exists():
            raise HarnessError(
                f"A worker does not find {self._out / LOCK}, which the run holds: --out must be a folder that all "
                "nodes share, under the same path."
            )
        experiment = self._experiment(spec)
        looks = [(cell, *experiment.store.look(cell.spec, self._save_fits)) for cell in experiment.plan.cells]
        cells = [
            RemoteCell(spec=cell.spec, parts=cell.parts, finished=record is not None, why=why)
            for cell, record, why in looks
        ]
        return RemotePlan(machine=experiment.machine, cells=cells).model_dump_json()

    def compute(self, spec: str, digest: str, machine: dict[str, Any]) -> str:
        """Computed, as JSON, of the cell with this digest in a run; a method that raises gives a failed record.

        Raises HarnessError for what no cell of the run can do without, UnfitNode if this machine is not like `machine`,
        holds other code or has a full disk. Raises Spent if this process lost its accelerator: in the cell with what
        would be returned, before it with the error.
        """
        experiment = self._experiment(spec)
        if experiment.machine != machine:
            raise UnfitNode(
                f"The nodes of the cluster differ: one is {machine}, another {experiment.machine}. Timings of two "
                "machines do not compare: give Ray nodes of one kind. A head that is to compute nothing is started "
                "with --num-cpus 0."
            )
        found = [cell for cell in experiment.plan.cells if cell.spec.digest == digest]
        if not found:
            raise UnfitNode(
                "The nodes of the cluster hold different code, libraries, data or models: a cell that one has planned "
                "is none of this node's. Install the same on all."
            )
        reused = experiment.store.look(found[0].spec, self._save_fits)[0] is not None
        lost = False
        with _noted() as texts:
            try:
                record = experiment.record(found[0])
            except DeviceLost as error:
                if error.record is None:
                    raise Spent(error) from error
                record, lost = error.record, True
            except HarnessError as error:
                if is_full(error):
                    raise UnfitNode(str(error)) from error
                raise
        computed = Computed(record=record, reused=reused, warnings=texts).model_dump_json()
        if lost:
            raise Spent(computed)
        return computed

    def _new_experiment(self, spec: str) -> Experiment:
        run = RunSpec.model_validate_json(spec)
        return Experiment(run, Store(self._out, shared=self._shared), Quiet(), self._save_fits, load_lm=self._load)

    def _load(self, *arguments: Any) -> HuggingFaceModel:
        if self._loaded is None or self._loaded[0] != arguments:
            self._loaded = None  # both would not fit into memory
            self._loaded = arguments, load(*arguments)
        return self._loaded[1]


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Collects what would be warned of, for whoever runs the command."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        yield texts
        texts += dict.fromkeys(str(warning.message) for warning in caught)
