"""The library: what `harness compare` does, as a function."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.analysis.comparison import Comparison
from harness.api import HarnessError, home
from harness.executors.ray_pool import Executor, require_executor
from harness.quiet import quiet_libraries
from harness.reporting.comparison_report import build, write
from harness.reporting.tracking import track
from harness.reporting.wandb_session import Mode, require_mode
from harness.results.disk import require_folder
from harness.results.locking import ERROR, alone
from harness.results.store import Store
from harness.results.writing import write_text
from harness.running.experiment import Experiment, Listener
from harness.running.progress import Quiet
from harness.running.task_data import TaskError
from harness.specs.resolve import resolve
from harness.specs.run_spec import RunSpec, join_names, parse_budget, parse_seeds


def compare(
    methods: str | Sequence[str] = "all",
    budget: str | float = "20m",
    tasks: str | Sequence[str] | None = None,
    preset: str = "tiny",
    out: str | Path | None = None,
    wandb: Mode = "disabled",
    seeds: str | int | Sequence[int] | None = None,
    overrides: dict[str, dict[str, Any]] | None = None,
    save_fits: bool = False,
    fresh: bool = False,
    listener: Listener | None = None,
    executor: Executor = "local",
    **settings: Any,
) -> Comparison:
    """Fit and evaluate `methods` on `tasks` (default: the preset's) under one budget per cell, and compare them.

    `methods` and `tasks` are lists of names, or texts with commas as for `harness compare`. `budget` is text such as
    "20m", or seconds. `overrides` are settings by method, as {"rag": {"k": 4}}. `settings` are further fields of
    `harness.specs.run_spec.RunSpec`: model, data, split, users, limit, regime, eval_history, group_size, history,
    likelihood, device, dtype, ... `save_fits` keeps what each method fitted, `fresh` discards what `out` holds. `out`
    defaults to a dated folder under runs/; finished cells in it are not computed again. `executor` "ray" has workers
    compute the cells, see docs/scaling.md. Prints nothing but warnings, and libraries show no progress bars; `listener`
    hears how it goes, e.g. a `harness.running.progress.Display`, which prints it. Raises HarnessError for what the
    caller can mend; a method that fails does not raise, it is a row with status "failed".
    """
    seconds = parse_budget(budget) if isinstance(budget, str) else budget
    chosen = {**settings, "budget": seconds, "seeds": None if seeds is None else parse_seeds(seeds)}
    of_tasks = None if tasks is None else join_names("tasks", tasks)
    spec = resolve(join_names("methods", methods), of_tasks, preset, overrides, **chosen)
    mode = require_mode(wandb)
    folder = home(out) if out else default_folder(spec)
    with quiet_libraries():
        comparison = run(spec, folder, save_fits, fresh, listener, executor=require_executor(executor))
    track(comparison, folder, mode)
    return comparison


def run(
    spec: RunSpec,
    out: Path,
    save_fits: bool = False,
    fresh: bool = False,
    listener: Listener | None = None,
    pool: Path | None = None,
    executor: Executor = "local",
) -> Comparison:
    """Compute a specification's missing cells into `out`, then write the comparison and its plots.

    `pool` is a folder of cells that several runs share: what is finished there is taken from it; with the executor
    "ray", `harness.executors.distributed` shares them and `pool` has no meaning. Warns of cells whose fit was to be
    kept and that were finished before without. Raises HarnessError if another run is using `out`, and, before anything
    is computed, if a task cannot read its data.
    """
    out = require_folder(out)
    store = Store(out, pool)
    store.require_ours()
    listener = listener or Quiet()
    with alone(out):
        (out / ERROR).unlink(missing_ok=True)
        try:
            if executor == "ray":
                from harness.executors.distributed import compute_run

                compute_run(spec, store, listener, save_fits, fresh)
            else:
                Experiment(spec, store, listener, save_fits).run(fresh)
        except TaskError as error:
            write_text(out / ERROR, error.trace)
            raise HarnessError(
                f"{error} No cell was computed. Mend the task, or leave it out of --tasks; the traceback is in "
                f"{out / ERROR}."
            ) from error
        if save_fits and (missing := store.without_fit()):
            warnings.warn(
                f"These cells were finished before, and their fits were not kept: {'; '.join(missing)}. To have their "
                "fits, compute all cells again with --save-fits --fresh.",
                stacklevel=2,
            )
        listener.stage("Comparing")
        comparison = build(store)
        write(comparison, out)
    return comparison


def default_folder(spec: RunSpec) -> Path:
    """A dated folder under runs/; the last one of the same specification as long as cells of it are to be computed."""
    digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:8]
    last = max(Path("runs").glob(f"*-{digest}"), default=None)
    if last is not None and not _is_whole(last, spec):
        return last
    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{digest}"


def _is_whole(folder: Path, spec: RunSpec) -> bool:
    """Whether a run has its comparison and an answer of every cell."""
    try:
        records = Store(folder).records()
    except HarnessError:
        return False
    return (folder / "comparison.json").exists() and sum(record.answered for record in records) >= spec.size
