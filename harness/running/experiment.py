"""From a run's specification to its records: what cells share is loaded once, then the missing cells are computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import psutil
import torch

from harness.api import HarnessError
from harness.model.embedding import load_embedder
from harness.model.lm import HuggingFaceModel, load
from harness.registry import model_folder
from harness.results.environment import git_state, hardware, versions
from harness.results.records import CellRecord
from harness.results.staleness import changed
from harness.results.store import Store
from harness.running.cell import Cell, CellListener, device_error
from harness.running.planning import PlannedCell, RunPlan, plan_run
from harness.running.preparation import Embed, Prepared, prepare
from harness.specs.run_spec import CellSpec, RunSpec

_LOST = (
    "{} ended with an error of the accelerator, after which this process cannot use it any more ({}). Finished cells "
    "are kept: run the same command again to resume."
)


class DeviceLost(HarnessError):
    """The accelerator failed: this process can compute no other cell.

    `record` is that of the cell in which it did, and is written; None where that was before a cell.
    """

    def __init__(self, message: str, record: CellRecord | None = None) -> None:
        super().__init__(message)
        self.record = record


class Listener(CellListener, Protocol):
    """Who is told how a run goes."""

    def stage(self, text: str) -> None:
        """Work that belongs to no cell has begun, e.g. loading the model."""

    def prepared(self, prepared: Prepared) -> None:
        """A task's data was read: its notes and faults are known."""

    def planned(self, cells: Sequence[CellSpec]) -> None:
        """All cells of the run, in the order they will be computed."""

    def recomputing(self, cell: CellSpec, why: str) -> None:
        """The cell was begun or computed before and has to be computed again."""

    def finished(self, record: CellRecord, reused: bool) -> None:
        """A cell has its record; `reused` if it was computed earlier."""


@dataclass(frozen=True)
class Outlook:
    """Whether a planned cell is finished; else `why` it has to be computed again, "" if it was never begun."""

    cell: PlannedCell
    finished: bool
    why: str


class Experiment:
    """One run. The model is loaded when the first cell has to be computed: a finished run is read at once.

    `diagnose`: whether to ask fits for evidence on what they learned, which takes time off their clocks. `load_lm`
    stands for `harness.model.lm.load` where runs share loaded models.
    """

    def __init__(
        self,
        spec: RunSpec,
        store: Store,
        listener: Listener,
        save_fits: bool = False,
        diagnose: bool = True,
        load_lm: Callable[..., HuggingFaceModel] | None = None,
    ) -> None:
        self.spec = spec
        self.store = store
        self.listener = listener
        self.save_fits = save_fits
        self.diagnose = diagnose
        self._load_lm = load_lm or load
        self._prepared: dict[str, Prepared] = {}

    def run(self, fresh: bool = False) -> list[CellRecord]:
        """Compute what is missing and return the record of every cell, in order.

        A method that raises gives a record with status `failed`; the others go on. Raises HarnessError for what no cell
        can do without, DeviceLost and KeyboardInterrupt after recording the cell that failed or was interrupted, if it
        was one.
        """
        missing = [found for found in self.outlook(fresh) if not found.finished]
        self._prepare(missing)
        specs = [cell.spec for cell in self.plan.cells]
        self.store.open(self.spec, self.machine, fresh, specs)
        self.listener.planned(specs)
        for found in missing:
            if found.why:
                self.listener.recomputing(found.cell.spec, found.why)
        return [self.record(cell) for cell in self.plan.cells]

    def outlook(self, fresh: bool = False) -> list[Outlook]:
        """What is finished and what has to be computed, and why again. Writes nothing.

        Raises HarnessError where the folder belongs to another run.
        """
        self.store.check(self.spec, self.machine, fresh)
        return [Outlook(cell, False, "") if fresh else self._look(cell) for cell in self.plan.cells]

    @cached_property
    def plan(self) -> RunPlan:
        """The run's cells on this machine."""
        self.listener.stage("Reading data, and hashing code and model files")
        return plan_run(self.spec)

    @cached_property
    def machine(self) -> dict[str, Any]:
        """What the timings of the run's cells depend on, on this machine."""
        return hardware(str(self.plan.device))

    def _look(self, cell: PlannedCell) -> Outlook:
        record, why = self.store.look(cell.spec, self.save_fits)
        if record is None and not why:
            why = changed(self.store, cell.spec, cell.parts)
        return Outlook(cell, record is not None, why)

    @cached_property
    def _lm(self) -> HuggingFaceModel:
        self.listener.stage(f"Loading the model {self.spec.model}")
        spec = self.spec
        lm = self._load_lm(model_folder(spec.model), spec.device, spec.dtype, spec.batch_size, spec.quantization)
        memory = _memory(lm, self.plan.device)
        found = (text for cell in self.plan.cells for text in cell.method.check_model(lm, memory))
        for message in dict.fromkeys(found):
            warnings.warn(message, stacklevel=2)
        return lm

    @cached_property
    def _embed(self) -> Embed:
        self.listener.stage(f"Loading the sentence embedder {self.spec.embedder}")
        return load_embedder(self.spec.embedder, str(self.plan.device))

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        return {"hardware": self.machine, "versions": versions(), "git": git_state()}

    def _prepare(self, missing: Sequence[Outlook]) -> None:
        """Load what the missing cells share. Raises DeviceLost, whatever an error of the accelerator was taken for."""
        try:
            self._load_shared(missing)
        except Exception as error:
            if (lost := device_error(error)) is None:
                raise
            raise DeviceLost(
                f"{_LOST.format('What comes before the cells', f'{type(lost).__name__}: {lost}'.splitlines()[0])} If "
                "it ends there again, the device may be at fault: see what nvidia-smi says, or give --device cpu."
            ) from error

    def _load_shared(self, missing: Sequence[Outlook]) -> None:
        for task in {found.cell.task.name: found.cell.task for found in missing}.values():
            embed, lm = self._embed, self._lm  # a name that cannot be had is told before the larger one is read
            self.listener.stage(f"Selecting histories of {task.name}")
            self._prepared[task.name] = prepare(task, self.spec, lm, embed, self.plan.data[task.name])
            self.listener.prepared(self._prepared[task.name])
        if missing:
            self._lm.keep()  # from here on only its tokenizer is used: cells get their own copies

    def record(self, cell: PlannedCell) -> CellRecord:
        """The record of one cell, computed unless it is finished. Raises as `run` does."""
        waiting = f"Waiting for another run, which computes {cell.spec.label} on {cell.spec.task}"
        with self.store.reserved(cell.spec, lambda: self.listener.stage(waiting)):
            known = self.store.finished(cell.spec, self.save_fits)
            record, lost = (known, False) if known else self._compute(cell)
        self.listener.finished(record, reused=known is not None)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        if lost:
            where = f"{record.spec.in_words},"
            raise DeviceLost(
                f"{_LOST.format(where, record.reason.splitlines()[0])} If it ends there again, --executor ray goes on, "
                "as it replaces the process.",
                record,
            )
        return record

    def _compute(self, planned: PlannedCell) -> tuple[CellRecord, bool]:
        """A cell's record, and whether the device was lost with it."""
        if planned.task.name not in self._prepared:  # it was finished when the run began
            self._prepare([Outlook(planned, False, "")])
        prepared = self._prepared[planned.task.name]
        provenance = {**self._provenance, "parts": planned.parts}
        cell = Cell(planned.spec, planned.method, prepared, self._embed, provenance, diagnose=self.diagnose)
        record, samples = cell.compute(self._lm, self.store, self.listener, self.save_fits)
        self.store.write(record, samples, self.save_fits)
        return record, cell.device_lost


def _memory(lm: HuggingFaceModel, device: torch.device) -> int:
    """Bytes of the device of the cells' models; of a CPU's memory what is free, the loaded model included."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().available + lm.model.get_memory_footprint()
