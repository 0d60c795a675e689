"""One cell: fit on a pristine model under the clock, save, and evaluate what was saved on another pristine model.

A fit that was saved is not made again where answering with it was interrupted or failed.
"""

from __future__ import annotations

import gc
import math
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from transformers import set_seed

from harness.api import (
    Diagnosis,
    FitReport,
    HarnessError,
    HistoryItem,
    LanguageModel,
    Method,
    Personalizer,
    printable,
)
from harness.model.lm import HuggingFaceModel
from harness.results.disk import explain_full, is_full
from harness.results.environment import PeakMemory
from harness.results.fingerprints import path_hash
from harness.results.locking import ERROR
from harness.results.records import CellRecord, cell_name
from harness.results.store import Store
from harness.results.writing import write_text
from harness.running.checkpoints import Anytime, Checkpoints, Point, write
from harness.running.clock import BudgetClock
from harness.running.context import Context
from harness.running.evaluation import Evaluation, evaluate
from harness.running.gold_likelihood import Likelihood
from harness.running.preparation import Prepared
from harness.running.process_state import restored
from harness.running.retrieval import Embed, HistorySearch
from harness.specs.run_spec import CellSpec

# What a record says of a cell's answers and their cost.
_ANSWERED = (
    *("metrics", "parse_failures", "prompts_shortened", "prompts_emptied", "unanswerable", "users_served"),
    *("users_known", "serves_newcomers", "likelihood", "likelihood_queries", "eval_seconds", "likelihood_seconds"),
    *("likelihood_tokens", "peak_memory_bytes"),
)
_COUNTED = ("additions_left_out", "not_finite")  # of the answers, among the record's counts where they are not 0


class CellListener(Protocol):
    """Who is told how a cell goes."""

    def fitting(self, cell: CellSpec, clock: BudgetClock) -> None:
        """A fit has begun on this clock."""

    def evaluating(self, cell: CellSpec, queries: int) -> None:
        """An evaluation has begun."""

    def answered(self, queries: int) -> None:
        """So many queries of the evaluation are answered."""


@dataclass
class Cell:
    """A cell ready to run; `provenance` fills the record's fields on machine, versions and code.

    `now` returns the seconds that the clocks of the fit and of its evidence count; `diagnose` asks the fit for it.
    `device_lost`: computing it ended with an error of the accelerator, after which this process can use it no more.
    """

    spec: CellSpec
    method: Method
    prepared: Prepared
    embed: Embed
    provenance: dict[str, Any]
    now: Callable[[], float] = time.monotonic
    diagnose: bool = True
    device_lost: bool = field(default=False, init=False)

    def compute(
        self, source: HuggingFaceModel, store: Store, listener: CellListener, save_fit: bool
    ) -> tuple[CellRecord, pd.DataFrame | None]:
        """The cell's record and samples. What a method raises makes it `failed`, Ctrl-C or SIGTERM `interrupted`.

        Raises HarnessError where the disk is full: that is no fault of the method's.
        """
        known = store.fitted(self.spec)
        if known and known.hardware != self.provenance.get("hardware", {}):  # its budget bought something else there
            known = None
        failed_before = store.failed(self.spec)
        attempts = store.begin(self.spec, known is not None)
        record = known.model_copy(update={"attempts": attempts}) if known else self._empty_record(attempts)
        samples, place = None, store.cell_dir(self.spec) / "fit"
        device = str(source.place)
        with tempfile.TemporaryDirectory(prefix="harness-") as folder, PeakMemory(device) as memory:
            try:
                if known:
                    saved = place
                else:
                    saved, checkpoints, report = self._fit(source.pristine(), Path(folder), record, listener)
                    if not self.spec.marks:  # what is answered at the marks is not kept
                        record.peak_memory_bytes = memory.so_far()
                        saved = store.keep_fit(record, saved)
                    if self.diagnose and report.diagnose:
                        self._diagnose(record, report.diagnose)
                        if saved == place:
                            store.note_fit(record)
                    del report  # it holds what the fit was made of
                    _free()
                samples = self._known_answers(store, record)
                if samples is None:
                    if known:
                        self._index(saved)
                    samples = self._evaluate(source.pristine(), saved, record, listener)
                if self.spec.marks:
                    write(store, self.spec, self._anytime(source, checkpoints, record, listener))
                if save_fit:
                    store.save_fit(self.spec, saved)
            except KeyboardInterrupt:
                record.status, record.reason = "interrupted", "interrupted by Ctrl-C or SIGTERM"
            except (Exception, SystemExit) as error:
                if is_full(error):
                    raise HarnessError(explain_full(Path(folder), store.root)) from error
                record.status, record.reason = "failed", printable(f"{type(error).__name__}: {error}", keep="\n")
                self.device_lost = device_error(error) is not None
                if known and failed_before:  # answering with it failed twice: the next attempt fits anew
                    store.settle_fit(self.spec, keep=False)
                write_text(store.cell_dir(self.spec) / ERROR, printable(traceback.format_exc(), keep="\n"))
        record.peak_memory_bytes = max(record.peak_memory_bytes, memory.bytes)
        with suppress(RuntimeError):  # of a device that was lost, which the record of its cell must outlive
            _free()
        return record, samples

    @cached_property
    def _search(self) -> HistorySearch:
        """Over the evaluated users; each cell has its own, so that no method profits from what another has indexed."""
        return HistorySearch(self.embed, self.prepared.whole)

    def _empty_record(self, attempts: int) -> CellRecord:
        return CellRecord(
            spec=self.spec,
            status="complete",
            attempts=attempts,
            budget_seconds=self.spec.budget,
            queries=len(self.prepared.queries),
            users=len(self.prepared.whole),
            leaks_removed=self.prepared.leaks_removed,
            records_skipped=self.prepared.data.records_skipped,
            items_found=self.prepared.data.items_found,
            items_skipped=self.prepared.data.items_skipped,
            notes=self.prepared.data.notes,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            **self.provenance,
        )

    @restored()
    def _fit(
        self, lm: HuggingFaceModel, folder: Path, record: CellRecord, listener: CellListener
    ) -> tuple[Path, Checkpoints, FitReport]:
        saved, scratch = folder / "fit", folder / "scratch"
        saved.mkdir()
        scratch.mkdir()
        pool = self.prepared.pool
        users = pool.users(self.spec.seed)
        set_seed(self.spec.seed)
        clock = BudgetClock(self.spec.budget, self.now, synchronize=_synchronizer(str(lm.model.device)))
        # A copy, whose settings a method may change for itself alone.
        task, spec, regime = copy(self.prepared.task), self.spec, self.spec.regime
        search = self._search if self._searches_alike else HistorySearch(self.embed, pool.select.whole)
        context = Context(lm, task, users, regime, clock, spec.seed, scratch, self.embed, search, pool.select)
        if passed_over := sum(pool.passed_over.get(user.id, 0) for user in users):
            context.report.counts["examples_too_long"] = passed_over
        marks = tuple(share * self.spec.budget for share in self.spec.marks)
        context.checkpoints = Checkpoints(marks, folder / "checkpoints", clock)
        listener.fitting(self.spec, clock)
        try:
            personalizer = self.method.fit(context)
            with clock.phase("save"):
                personalizer.save(saved)
        finally:
            clock.stop()
            _account_for_time(record, clock, context.lm)
        _account_for_report(record, context.report)
        record.fit_bytes = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        record.fit_hash = path_hash(saved)
        return saved, context.checkpoints, context.report

    @property
    def _searches_alike(self) -> bool:
        """Whether answering searches the histories of the fit, so that what this has indexed is not indexed again."""
        return self.spec.regime == "seen" and self.spec.eval_history == "own"

    def _index(self, saved: Path) -> None:
        """What the fit had indexed, which answering does not pay for, is to be indexed again in another process."""
        if self._searches_alike:
            self._shown(self.method.load(saved, copy(self.prepared.task)))

    def _shown(self, personalizer: Personalizer) -> dict[str, tuple[HistoryItem, ...]]:
        """The history that each query's prompt shows."""
        return {
            query.id: personalizer.retrieve(query, self.prepared.histories[query.id], self._search)
            for query in self.prepared.queries
        }

    @restored()
    def _diagnose(self, record: CellRecord, diagnose: Callable[[], Diagnosis]) -> None:
        """The evidence that the fit offers; without it the cell is as good, so that its failure is a note."""
        watch = BudgetClock(float("inf"), self.now)
        try:
            diagnosis = diagnose()
            odd = [name for name, x in diagnosis.values.items() if not isinstance(x, str) and not math.isfinite(x)]
            if odd:
                raise ValueError(f"not finite: {', '.join(odd)}")
            values = {name: x if isinstance(x, str) else float(x) for name, x in diagnosis.values.items()}
            record.diagnosis = replace(diagnosis, values=values)
        except Exception as error:
            where = f"{record.spec.label} on {record.spec.task}, seed {record.spec.seed}"
            why = printable(f"{type(error).__name__}: {error}", keep="\n")
            record.notes.append(f"{where}: there is no diagnosis of the fit ({why}).")
        record.diagnosis_seconds = watch.elapsed()

    def _known_answers(self, store: Store, record: CellRecord) -> pd.DataFrame | None:
        """The samples of a cell whose fit came out the same, and in `record` what its answers were and cost."""
        if (found := store.same_answers(record)) is None:
            return None
        known, samples = found
        for name in _ANSWERED:
            setattr(record, name, getattr(known, name))
        record.counts |= {name: known.counts[name] for name in _COUNTED if name in known.counts}
        record.tokens_in = record.fit_tokens_in + known.tokens_in - known.fit_tokens_in
        record.tokens_out = record.fit_tokens_out + known.tokens_out - known.fit_tokens_out
        record.answers_of = known.answers_of or cell_name(known.spec)
        return samples

    def _evaluate(self, lm: HuggingFaceModel, saved: Path, record: CellRecord, listener: CellListener) -> pd.DataFrame:
        clock = BudgetClock(float("inf"), synchronize=_synchronizer(str(lm.model.device)))
        result = self._answer(lm, saved, listener, self.spec.likelihood)
        clock.stop()
        record.eval_seconds = clock.elapsed()
        record.metrics = {name: _finite(value, f"the metric {name}") for name, value in result.metrics.items()}
        record.parse_failures = float(1 - result.samples["parsed"].mean())
        record.prompts_shortened = result.prompts_shortened
        record.prompts_emptied = result.prompts_emptied
        record.unanswerable = result.unanswerable
        record.counts |= {name: count for name in _COUNTED if (count := getattr(result, name))}
        record.users_served = result.users_served
        record.users_known = result.users_known
        record.serves_newcomers = result.serves_newcomers
        record.tokens_in = record.fit_tokens_in + lm.tokens_in
        record.tokens_out = record.fit_tokens_out + lm.tokens_out
        if result.likelihood is not None:
            _account_for_likelihood(record, result.likelihood)
        items = {user: len(history) for user, history in self.prepared.data.histories.items()}
        samples = result.samples.assign(history_items=result.samples["user_id"].map(items).astype("int64"))
        samples.to_parquet(index=False)  # what no file can hold fails the cell here, and would end the run later
        return samples

    def _anytime(
        self, source: HuggingFaceModel, checkpoints: Checkpoints, record: CellRecord, listener: CellListener
    ) -> Anytime:
        points = [
            point.model_copy(update={"metrics": self._answer(source.pristine(), saved, listener).metrics})
            for point, saved in checkpoints.points
        ]
        whole = Point(
            mark=None,
            seconds=record.fit_seconds,
            making=0.0,
            samples_used=record.samples_used,
            metrics=record.metrics,
            annealed=True,
        )
        return Anytime(points=[*points, whole], missing=checkpoints.missing())

    @restored()
    def _answer(
        self, lm: HuggingFaceModel, saved: Path, listener: CellListener, likelihood: bool = False
    ) -> Evaluation:
        listener.evaluating(self.spec, len(self.prepared.queries))
        prepared = self.prepared
        personalizer = self.method.load(saved, copy(prepared.task))
        return evaluate(
            lm,
            prepared.task,
            personalizer,
            prepared.queries,
            self._shown(personalizer),
            prepared.data.golds,
            listener.answered,
            likelihood,
        )


def device_error(error: BaseException | None) -> torch.AcceleratorError | None:
    """The error of the accelerator behind what was raised, such as an assertion that failed on it, if one is.

    CUDA answers every later call of the process with the same one. Memory that runs out is another error.
    """
    while error is not None:
        if isinstance(error, torch.AcceleratorError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _account_for_time(record: CellRecord, clock: BudgetClock, lm: LanguageModel) -> None:
    """Raises nothing, which would hide what ended the fit."""
    record.fit_seconds = clock.elapsed()
    record.phases = clock.phases
    record.status = "overran" if clock.overran else "budget_exhausted" if clock.exhausted else "complete"
    record.reason = clock.reason if clock.exhausted else ""
    record.fit_tokens_in, record.fit_tokens_out = lm.tokens_in, lm.tokens_out


def _account_for_report(record: CellRecord, report: FitReport) -> None:
    record.users_fitted = _whole(report.users_fitted, "users_fitted")
    record.samples_used = _whole(report.samples_used, "samples_used")
    record.counts = {name: _finite(count, f"counts[{name!r}]") for name, count in report.counts.items()}


def _finite(value: object, name: str) -> float:
    """A number that a record can hold. Raises ValueError for any other value."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, not a finite number")
    return int(value) if isinstance(value, Integral) else float(value)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}, not a whole number")
    return int(value)


def _account_for_likelihood(record: CellRecord, found: Likelihood) -> None:
    """Apart from what answering cost, which is the same whether likelihoods are measured or not."""
    record.likelihood, record.likelihood_queries = found.means, found.queries
    cost = found.cost
    record.likelihood_seconds, record.likelihood_tokens = cost.seconds, cost.tokens_in + cost.tokens_out
    record.eval_seconds -= cost.seconds
    record.tokens_in -= cost.tokens_in
    record.tokens_out -= cost.tokens_out


def _synchronizer(device: str) -> Callable[[], None]:
    if device.startswith("cuda"):
        return partial(torch.cuda.synchronize, device)
    return torch.mps.synchronize if device.startswith("mps") else lambda: None


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
