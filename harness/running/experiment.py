"""From a run's specification to its records: what cells share is loaded once, then the missing cells are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from harness.api import Method, Task
from harness.model.embedding import load_embedder
from harness.model.lm import HuggingFaceModel, load
from harness.registry import TASKS, model_folder
from harness.results.environment import git_state, hardware, model_fingerprint, source_fingerprint, versions
from harness.results.store import CellRecord, Store
from harness.running.cell import Cell, CellListener
from harness.running.preparation import Embed, Prepared, prepare
from harness.specs.resolve import build_method
from harness.specs.run_spec import CellSpec, MethodSpec, RunSpec


class Listener(CellListener, Protocol):
    """Who is told how a run goes."""

    def stage(self, text: str) -> None:
        """Work that belongs to no cell has begun, e.g. loading the model."""

    def prepared(self, prepared: Prepared) -> None:
        """A task's data was read: its notes and faults are known."""

    def planned(self, cells: Sequence[CellSpec]) -> None:
        """All cells of the run, in the order they will be computed."""

    def finished(self, record: CellRecord, reused: bool) -> None:
        """A cell has its record; `reused` if it was computed earlier."""


class Experiment:
    """One run."""

    def __init__(self, spec: RunSpec, store: Store, listener: Listener, save_fits: bool = False) -> None:
        self.spec = spec
        self.store = store
        self.listener = listener
        self.save_fits = save_fits
        self.tasks: dict[str, Task] = {name: TASKS.get(name)() for name in spec.tasks}
        self.methods: list[tuple[MethodSpec, Method]] = [
            (method, build_method(method, spec)) for method in spec.methods
        ]

    def run(self, fresh: bool = False) -> list[CellRecord]:
        """Compute what is missing and return the record of every cell, in order.

        A method that raises gives a record with status `failed`; the others go on. Raises HarnessError for what no cell
        can do without, and KeyboardInterrupt after recording the interrupted cell.
        """
        lm, cells = self.plan(fresh)
        self.listener.planned([cell.spec for cell in cells])
        return [self._record(cell, lm) for cell in cells]

    def plan(self, fresh: bool = False) -> tuple[HuggingFaceModel, list[Cell]]:
        """Claim the output folder, load what the cells share, and list the cells in the order they will be computed."""
        self.listener.stage(f"Loading the model {self.spec.model}")
        path = model_folder(self.spec.model)
        spec = self.spec
        lm = load(path, spec.device, spec.dtype, spec.batch_size, spec.quantization)
        fingerprint = model_fingerprint(path, getattr(lm.model.config, "_commit_hash", None))
        machine = hardware(str(lm.model.device))
        self.store.check(self.spec, machine, fresh)
        self.listener.stage(f"Loading the sentence embedder {self.spec.embedder}")
        embed = load_embedder(self.spec.embedder, str(lm.model.device))
        prepared = [self._prepare(task, lm, embed) for task in self.tasks.values()]
        self.store.open(self.spec, machine, fresh)
        provenance = {"hardware": machine, "versions": versions(), "git": git_state()}
        cells = [
            Cell(self._cell_spec(data, spec, method, seed, lm, fingerprint), method, data, embed, provenance)
            for data in prepared
            for seed in self.spec.seeds
            for spec, method in self.methods
        ]
        if lm.model.device.type == "cuda" and spec.quantization is None:
            lm.model.cpu()  # from here on only its tokenizer is used: cells load their own copies
        return lm, cells

    def _prepare(self, task: Task, lm: HuggingFaceModel, embed: Embed) -> Prepared:
        self.listener.stage(f"Reading {task.name} and selecting histories")
        prepared = prepare(task, self.spec, lm, embed)
        self.listener.prepared(prepared)
        return prepared

    def _cell_spec(
        self, prepared: Prepared, spec: MethodSpec, method: Method, seed: int, lm: HuggingFaceModel, fingerprint: str
    ) -> CellSpec:
        same = (set(CellSpec.model_fields) & set(RunSpec.model_fields)) - {"split", "dtype"}
        return CellSpec(
            **{key: getattr(self.spec, key) for key in same},
            task=prepared.task.name,
            task_version=prepared.task.version,
            data_fingerprint=prepared.data.fingerprint,
            split=prepared.data.split,
            method=spec.name,
            variant=spec.variant,
            config=method.config.model_dump(mode="json"),
            method_source=source_fingerprint(type(method)),
            model_fingerprint=fingerprint,
            dtype=str(lm.model.dtype).removeprefix("torch."),
            seed=seed,
        )

    def _record(self, cell: Cell, lm: HuggingFaceModel) -> CellRecord:
        known = self.store.finished(cell.spec)
        if known is not None:
            self.listener.finished(known, reused=True)
            return known
        record, samples = cell.compute(lm, self.store, self.listener, self.save_fits)
        self.store.write(record, samples)
        self.listener.finished(record, reused=False)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        return record
