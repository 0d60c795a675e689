"""The atomic store: one folder per cell, finished when its `cell.json` is there."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from harness.api import HarnessError
from harness.formatting import listed
from harness.results.discarding import discard_results
from harness.results.disk import is_full
from harness.results.fingerprints import file_hash, path_hash
from harness.results.locking import ERROR, is_trace
from harness.results.records import CellRecord, RunRecord, cell_name, read_record
from harness.results.writing import replacing, write_text
from harness.specs.run_spec import CellSpec, RunSpec

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = "samples.parquet"
_FITTED = "fitted.json"  # the record of a fit that is not answered with yet
_NAMED = 3  # of many files


class Store:
    """The folder of one run: `run.json`, `cells/<task>/<method>/seed-<n>-<hash8>/{cell.json,samples.parquet}`.

    `pool` is a folder laid out like `cells` that several runs share: finished cells are taken from it and added to it,
    as copies, so that each run's folder is whole. `shared`: the folder's own `cells` are such a pool of other runs.
    """

    def __init__(self, root: Path, pool: Path | None = None, shared: bool = False) -> None:
        self.root = root
        self.pool = pool
        self.shared = shared

    def check(self, spec: RunSpec, hardware: dict[str, Any], fresh: bool) -> None:
        """Raise HarnessError if the folder holds another run, a run of other hardware, or foreign files."""
        self.require_ours()
        if fresh or not (self.root / "run.json").exists():
            return
        found = self.read_run()
        if found.spec != spec:
            raise HarnessError(
                f"{self.root} holds the results of another specification, which differs in "
                f"{_differences(found.spec, spec)}. Choose another --out, repeat the original command, or pass --fresh "
                "to discard what is there."
            )
        if found.hardware != hardware and any(self.ended()):
            raise _other_machine(f"{self.root} was begun", found.hardware, hardware)

    def require_ours(self) -> None:
        """Raise HarnessError if the folder holds foreign files, which no run may mix with its own."""
        ours = (self.root / "run.json").exists() or not self.root.is_dir()
        if not ours and not all(map(is_trace, self.root.iterdir())):
            raise HarnessError(f"{self.root} is not empty and has no run.json. Choose another --out.")

    def open(
        self, spec: RunSpec, hardware: dict[str, Any], fresh: bool = False, cells: Sequence[CellSpec] = ()
    ) -> None:
        """Claim the folder for `spec` and its `cells` after `check`; `fresh` discards those there and their results.

        Warns of foreign files among these, which stay.
        """
        self.check(spec, hardware, fresh)
        if fresh and (kept := discard_results(self.root)):
            more = [f"{len(kept) - _NAMED} more"] if len(kept) > _NAMED else []
            names = listed([*map(str, kept[:_NAMED]), *more])
            warnings.warn(f"--fresh has left alone what is no result of the harness: {names}.", stacklevel=2)
        self.root.mkdir(parents=True, exist_ok=True)
        record = RunRecord(spec=spec, hardware=hardware, cells=[cell_name(cell) for cell in cells])
        write_text(self.root / "run.json", record.model_dump_json(indent=2))

    def read_run(self) -> RunRecord:
        """The run's specification. Raises HarnessError if the folder is no run or was written by another version."""
        path = self.root / "run.json"
        if not path.is_file():
            raise HarnessError(f"{self.root} is no results folder: it has no run.json. Give the --out of a comparison.")
        return read_record(RunRecord, path)

    def cell_dir(self, spec: CellSpec) -> Path:
        """Folder of a cell; method and task names come from the registry, so the path needs no cleaning."""
        return _cell_dir(self.root / "cells", spec)

    def look(self, spec: CellSpec, fit: bool = False) -> tuple[CellRecord | None, str]:
        """(the cell's record, "") if it need not be computed, else (None, why; "" if never tried). Reads only.

        `fit`: a saved fit has to be whole too.
        """
        found, why = self._found(spec, fit)
        if found is None and self.fitted(spec) is not None:
            why += "; its fit is kept"
        return found, why

    def finished(self, spec: CellSpec, fit: bool = False) -> CellRecord | None:
        """The cell's record, taken from the pool if need be; None if it has to be computed, at first or again.

        Failed, interrupted and damaged cells are computed again, with `fit` those whose saved fit is damaged too.
        Raises HarnessError for a cell of other hardware.
        """
        record, _ = self._found(spec, fit)
        if record is not None and _intact(self.cell_dir(spec), spec, fit)[0] is None:
            self._adopt(record)
        return record

    def _found(self, spec: CellSpec, fit: bool) -> tuple[CellRecord | None, str]:
        """As `look`, but for what is left of a fit, which may take long to read."""
        found, why = _intact(self.cell_dir(spec), spec, fit)
        if found is None and self.pool is not None:
            found, pooled_why = _intact(_cell_dir(self.pool, spec), spec)
            why = why or pooled_why
        return found, "" if found else why

    def _adopt(self, record: CellRecord) -> None:
        assert self.pool is not None
        pooled = _cell_dir(self.pool, record.spec)
        found, ours = record.hardware, self.read_run().hardware
        if found != ours:
            raise _other_machine(f"{pooled} was computed", found, ours)
        _copy(pooled, self.cell_dir(record.spec))

    def take(self, spec: CellSpec, other: Store) -> None:
        """Copy a cell of another run's folder into this one."""
        _copy(other.cell_dir(spec), self.cell_dir(spec))

    @contextmanager
    def reserved(self, spec: CellSpec, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold a cell of the pool, so that of runs that share it one computes the cell and the others take it over.

        `waiting` is called once if another run holds the cell; the wait ends when that run is done with it, or dead.
        """
        pool = self.root / "cells" if self.shared else self.pool
        if pool is None:
            yield
            return
        folder = _cell_dir(pool, spec)
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def begin(self, spec: CellSpec, fitted: bool = False) -> int:
        """Count an attempt and return its number, 1 for the first. Survives a kill, unlike the record.

        What an earlier attempt came to is forgotten, but for its fit where that is `fitted`.
        """
        folder = self.cell_dir(spec)
        folder.mkdir(parents=True, exist_ok=True)
        attempt = self.attempts(spec) + 1
        write_text(folder / "attempts", str(attempt))
        stays = ("attempts", "fit", _FITTED) if fitted else ("attempts",)
        for path in folder.iterdir():
            if path.name in stays:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return attempt

    def fitted(self, spec: CellSpec) -> CellRecord | None:
        """The record of a cell as of when its fit was over, if the fit is there, whole, and was not answered with."""
        folder = self.cell_dir(spec)
        found = (record for record in _readable([folder / _FITTED]) if record.spec == spec)
        return next((record for record in found if is_fit(folder / "fit", record)), None)

    def keep_fit(self, record: CellRecord, saved: Path) -> Path:
        """Move a fit into its cell's folder, with the record that says so, and return where it is then.

        It stays where it is if the disk has no room for it.
        """
        place = self.cell_dir(record.spec) / "fit"
        try:
            shutil.move(saved, place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            if not is_full(error):
                raise
            return saved
        self.note_fit(record)
        return place

    def note_fit(self, record: CellRecord) -> None:
        """Write the record of a fit that is in its cell's folder and was not answered with."""
        write_text(self.cell_dir(record.spec) / _FITTED, record.model_dump_json(indent=2))

    def save_fit(self, spec: CellSpec, saved: Path) -> None:
        """See that the cell's folder has the fit at `saved`."""
        if saved != (place := self.cell_dir(spec) / "fit"):
            shutil.copytree(saved, place)

    def failed(self, spec: CellSpec) -> bool:
        """Whether the last attempt at the cell was recorded, and as failed."""
        return any(record.status == "failed" for record in _readable([self.cell_dir(spec) / "cell.json"]))

    def settle_fit(self, spec: CellSpec, keep: bool) -> None:
        """Nothing is to be answered with the fit in the cell's folder any more: it stays as a saved one, or goes."""
        folder = self.cell_dir(spec)
        (folder / _FITTED).unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(folder / "fit", ignore_errors=True)

    def attempts(self, spec: CellSpec) -> int:
        """How often the cell was begun, 0 for never and where the count is damaged."""
        path = self.cell_dir(spec) / "attempts"
        counted = path.read_bytes() if path.exists() else b""
        return int(counted) if re.fullmatch(rb"\d{1,9}", counted) else 0

    def write(self, record: CellRecord, samples: pd.DataFrame | None, save_fit: bool = False) -> None:
        """Samples first, then the record that declares the cell finished; each by rename. Fills in `record.files`.

        The fit of a cell that is finished goes then, unless it is to be saved.
        """
        folder = self.cell_dir(record.spec)
        folder.mkdir(parents=True, exist_ok=True)
        if samples is not None:
            with replacing(folder / SAMPLES) as temporary:
                samples.to_parquet(temporary, index=False)
        record.files = {path.name: file_hash(path) for path in sorted(folder.iterdir()) if _is_result(path)}
        write_text(folder / "cell.json", record.model_dump_json(indent=2))
        if not record.answered:
            return
        self.settle_fit(record.spec, keep=save_fit)
        if self.pool is not None:
            _copy(folder, _cell_dir(self.pool, record.spec))

    def same_answers(self, record: CellRecord) -> tuple[CellRecord, pd.DataFrame] | None:
        """Another finished cell, and its samples, that must have answered as `record`'s would; None if there is none.

        Its fit stored the same, byte by byte, and it differs in nothing but the budget, the seed and what else concerns
        fits alone; the machine is the same.
        """
        for cells in filter(None, (self.root / "cells", self.pool)):
            for known in _readable(sorted(_cell_dir(cells, record.spec).parent.glob("seed-*/cell.json"))):
                alike = known.spec != record.spec and _decisive(known) == _decisive(record)
                if alike and _intact(place := _cell_dir(cells, known.spec), known.spec)[0] is not None:
                    return known, _samples(place)
        return None

    def records(self) -> list[CellRecord]:
        """The records of the run's cells, by path. Raises HarnessError, naming the file, for an unreadable one."""
        cells = self.root / "cells"
        ours = set(self.read_run().cells) if (self.root / "run.json").exists() else set()
        paths = sorted(cells.glob("*/*/*/cell.json"))
        return [
            read_record(CellRecord, path)
            for path in paths
            if not ours or path.parent.relative_to(cells).as_posix() in ours
        ]

    def ended(self) -> Iterator[CellRecord]:
        """The records of all cells there that came to answers, by path; those that cannot be read are passed over."""
        records = _readable(sorted(self.root.glob("cells/*/*/*/cell.json")))
        return (record for record in records if record.answered)

    def without_fit(self) -> list[str]:
        """The run's cells with answers whose fit was not kept or is damaged, in words. Raises as `records` does."""
        return [
            record.spec.in_words
            for record in self.records()
            if record.answered and not is_fit(self.cell_dir(record.spec) / "fit", record)
        ]

    def earlier(self, spec: CellSpec) -> CellRecord | None:
        """The newest record of the same task, method, variant and seed that was asked for or computed otherwise."""
        found = _readable(self.cell_dir(spec).parent.glob(f"seed-{spec.seed}-*/cell.json"))
        others = [record for record in found if record.spec.variant == spec.variant and record.spec != spec]
        return max(others, key=lambda record: record.started_at, default=None)

    def samples(self, spec: CellSpec) -> pd.DataFrame:
        """One row per query: user_id, query_id, prompt_sha256, output, prediction, gold, parsed, then the scores.

        After these, of answers in free text, what `harness.running.own_words` finds: `own_words` and `copied`. Then
        what `harness.running.gold_likelihood` measures: `gold_nats`, and `likely_label`, `label_accuracy`, `label_mae`
        where answers are labels; not a number, or null, for a query without. Then `neutral_nats`, of a text that
        concerns no preference, and `neutral_changed`, whether the answer to a question about it is another one.
        `history_items` comes last: how many items the data has of the query's user, before leaks go and any selection.
        Raises HarnessError for a file that is absent or damaged.
        """
        return _samples(self.cell_dir(spec))


def _cell_dir(cells: Path, spec: CellSpec) -> Path:
    return cells / cell_name(spec)


def _readable(paths: Iterable[Path]) -> Iterator[CellRecord]:
    for path in paths:
        with suppress(HarnessError):
            yield read_record(CellRecord, path)


def _is_result(path: Path) -> bool:
    """Whether a cell's file is part of what its record describes."""
    return path.is_file() and path.name not in ("cell.json", "attempts", _FITTED, ERROR) and path.name[0] != "."


def is_fit(folder: Path, record: CellRecord) -> bool:
    """Whether a folder holds the fit that the record is of, as far as the record tells."""
    return folder.is_dir() and record.fit_hash in ("", path_hash(folder))


def _intact(folder: Path, spec: CellSpec, fit: bool = False) -> tuple[CellRecord | None, str]:
    """(the finished record in a cell's folder, "") or (None, what is wrong with it; "" if there is none)."""
    path = folder / "cell.json"
    if not path.exists():
        return None, "stopped before its record was written" if (folder / "attempts").exists() else ""
    try:
        record = read_record(CellRecord, path)
    except HarnessError:
        return None, "its record cell.json is damaged"
    if record.spec != spec:
        return None, "its record cell.json is of another cell"
    if not record.answered:
        return None, f"{record.status}: {record.reason}" if record.reason else record.status
    wrong = [name for name, known in record.files.items() if _hash(folder / name) != known]
    if wrong or SAMPLES not in record.files:
        return None, f"{', '.join(wrong) or SAMPLES} is missing or not what was written"
    if fit and (folder / "fit").exists() and not is_fit(folder / "fit", record):
        return None, "its saved fit is not what was written"
    return record, ""


def _decisive(record: CellRecord) -> tuple[Any, ...]:
    """What decides a cell's answers and what they cost."""
    return record.fit_hash, record.spec.of_answers, record.hardware


def _samples(folder: Path) -> pd.DataFrame:
    import pandas as pd

    path = folder / SAMPLES
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"Cannot read {path}: it is absent or damaged. Repeat the command that made it to compute the cell again."
        ) from error


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError:
        return ""


def _copy(source: Path, target: Path) -> None:
    """Copy a cell's folder; `cell.json`, which declares it finished, comes last.

    A fit that was not answered with stays where answering goes on.
    """
    target.mkdir(parents=True, exist_ok=True)
    left = ("fit", _FITTED) if (source / _FITTED).exists() else ()
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cell.json", *left))
    write_text(target / "cell.json", (source / "cell.json").read_text(encoding="utf-8"))


def _other_machine(what: str, found: dict[str, Any], ours: dict[str, Any]) -> HarnessError:
    return HarnessError(
        f"{what} on other hardware ({found}); this is {ours}. Timings of two machines do not compare: choose another "
        "--out, or pass --fresh to discard what is there."
    )


def _differences(found: RunSpec, asked: RunSpec) -> str:
    before, after = found.model_dump(), asked.model_dump()
    return ", ".join(key for key in before if before[key] != after[key])
