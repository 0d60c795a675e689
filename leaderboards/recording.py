"""From a run's folder to a record in the directory that git keeps."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from harness.api import HarnessError
from harness.leaderboards.against_controls import controls_of, versus_controls
from harness.leaderboards.json_files import check, read_model, write_whole
from harness.leaderboards.record_schema import Kind, Record, Result
from harness.leaderboards.run_folder import Finding, PairTest, Row, Run, RunSpec

BASELINE = "instruct"
SAMPLES = 3  # answers kept per method and task
_MEND = "Mend or remove the record; `harness leaderboard add RUN_DIR` writes a new one."

Values = dict[str, Any]  # not yet validated: the record is checked as a whole, so that a fault names its file
Outcome = Literal["added", "unchanged", "replaced"]


def record(folder: Path, samples: int = SAMPLES) -> Record:
    """Read a run's folder. Raises HarnessError naming file and field if it is no complete, consistent run."""
    run = Run(folder)
    spec = check(RunSpec, run.file.spec, folder / "run.json", "Give the --out of a finished `harness compare`.")
    comparison, controls = run.comparison, controls_of(run)
    values = {
        "id": _identifier(spec, run),
        "setting": _setting(spec, run.file.spec),
        "higher_is_better": comparison.higher_is_better,
        "likelihood_higher_is_better": comparison.likelihood_higher_is_better,
        "results": [_result(run, row, controls, samples) for row in comparison.pooled],
        "rankings": [
            ranking.model_dump() | {"best": _public_label(ranking.best), "tied": list(map(_public_label, ranking.tied))}
            for ranking in comparison.rankings
        ],
        "notes": comparison.notes,
        "provenance": _provenance(run),
    }
    return check(Record, values, folder / "comparison.json", "`harness report DIR` rebuilds it.")


def add(folder: Path, records: Path, samples: int = SAMPLES, replace: bool = False) -> tuple[Path, Outcome]:
    """Write a run's record; a record of the same run stays as it is.

    Raises HarnessError if another result of the same specification and hardware is there, unless `replace`.
    """
    new = record(folder, samples)
    path = records / f"{new.id}.json"
    text = new.model_dump_json(indent=1) + "\n"
    if not path.exists():
        write_whole(path, text)
        return path, "added"
    if _same(path, new):
        return path, "unchanged"
    if not replace:
        raise HarnessError(
            f"{path} holds another result of the same specification on the same hardware. Pass --replace to put "
            f"{folder} in its place."
        )
    write_whole(path, text)
    return path, "replaced"


def _same(path: Path, new: Record) -> bool:
    """Whether that is what the file says, though an earlier version may have written it."""
    try:
        return Record.model_validate_json(path.read_bytes()) == new
    except ValueError:
        return False


def read_records(folder: Path) -> list[Record]:
    """All records, the newest run first. Raises HarnessError naming the file and field of the first bad one."""
    if not folder.is_dir():
        raise HarnessError(f"There is no folder {folder}. Add a run with `harness leaderboard add`, or give --records.")
    found = []
    for path in sorted(folder.glob("*.json")):
        one = read_model(Record, path, _MEND)
        if one.id != path.stem:
            raise HarnessError(f"{path} holds the record {one.id}: the file must be named after it. {_MEND}")
        found.append(one)
    return sorted(found, key=lambda one: (one.provenance.first_started_at, one.id), reverse=True)


def _identifier(spec: RunSpec, run: Run) -> str:
    """Readable and unique: model, regime, budget, then a hash of the specification and the hardware."""
    text = json.dumps([run.file.spec, run.file.hardware], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    words = f"{_public(spec.model)}-{spec.regime}-{spec.budget:g}s".lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', words).strip('-') or 'run'}-{digest}"


def _public(name: str) -> str:
    """A path without its folders, which say more about somebody's machine than about the run; a hub name as it is."""
    windows = PureWindowsPath(name)
    if windows.drive or "\\" in name:
        return windows.name
    if PurePosixPath(name).name in ("", ".."):
        return Path(name).resolve().name
    return PurePosixPath(name).name if name.startswith(("/", ".", "~")) else name


def _public_label(label: str) -> str:
    """A method's label or variant, whose settings may be paths."""
    return re.sub(r"(?<==)[^,]+", lambda found: _public(found[0]), label)


def _all_public(value: Any) -> Any:
    """Settings, however deep a path lies in them."""
    if isinstance(value, dict):
        return {key: _all_public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_all_public(inner) for inner in value]
    return _public(value) if isinstance(value, str) else value


def _setting(spec: RunSpec, everything: dict[str, Any]) -> Values:
    return {
        "model": _public(spec.model),
        "data": _public(spec.data),
        "split": spec.split,
        "regime": spec.regime,
        "budget_seconds": spec.budget,
        "preset": spec.preset,
        "seeds": spec.seeds,
        "group_size": spec.group_size,
        "everything": _all_public(everything),
    }


def _result(run: Run, row: Row, controls: dict[str, str], samples: int) -> Values:
    spec = run.of(row)[0][0].spec
    shared = row.model_dump(include=(set(Result.model_fields) & set(Row.model_fields)) - {"likelihood"})
    return dict(
        **shared | {"variant": _public_label(row.variant)},
        kind=_kind(row.method, controls),
        config=_all_public(spec.config),
        scores={metric: _score(run, row, metric, controls) for metric in row.metrics},
        likelihood={measure: _likelihood(run, row, measure, controls) for measure in row.likelihood},
        answers_alike=row.sole_answer is not None,
        tokens=row.tokens_in + row.tokens_out,
        stored_bytes=row.fit_bytes if row.metrics else None,
        task_version=spec.task_version,
        data_fingerprint=spec.data_fingerprint,
        method_source=spec.method_source,
        samples=run.samples(row, samples),
    )


def _score(run: Run, row: Row, metric: str, controls: dict[str, str]) -> Values:
    tests, against = run.comparison.comparisons, row.vs_instruct.get(metric)
    scored = _scored(row.metrics[metric], row.interval.get(metric), _test(tests, row, metric, against))
    return scored | {"vs_controls": _vs_controls(tests, row, metric, controls)}


def _likelihood(run: Run, row: Row, measure: str, controls: dict[str, str]) -> Values:
    found = row.likelihood[measure]
    tests = run.comparison.likelihood_tests
    scored = _scored(found.value, found.interval, _test(tests, row, measure, found.vs_instruct))
    return scored | {"vs_controls": _vs_controls(tests, row, measure, controls)}


def _scored(value: float, interval: tuple[float, float] | None, test: Values | None) -> Values:
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high, "vs_instruct": test}


def _test(tests: list[PairTest], row: Row, metric: str, found: Finding | None) -> Values | None:
    if found is None:
        return None
    sizes = [
        test.minimum_detectable
        for test in tests
        if (test.task, test.metric, test.a, test.b) == (row.task, metric, row.label, BASELINE)
    ]
    return {**found.model_dump(), "minimum_detectable": sizes[0] if sizes else None}


def _vs_controls(tests: list[PairTest], row: Row, metric: str, controls: dict[str, str]) -> Values:
    return {_public_label(label): test for label, test in versus_controls(tests, row, metric, controls).items()}


def _kind(method: str, controls: dict[str, str]) -> Kind:
    return "baseline" if method == BASELINE else "control" if method in controls else "method"


def _provenance(run: Run) -> Values:
    cells = sorted((cell for cell, _ in run.cells.values()), key=lambda cell: cell.started_at)
    if not cells:
        raise HarnessError(f"{run.root} has no cells. Give the --out of a finished `harness compare`.")
    return {
        "first_started_at": cells[0].started_at,
        "last_started_at": cells[-1].started_at,
        "model_fingerprint": cells[-1].spec.model_fingerprint,
        "hardware": run.file.hardware,
        "versions": cells[-1].versions,
        "git": cells[-1].git,
    }
