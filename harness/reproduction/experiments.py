"""Run an experiment's points, judge its claims, and write what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.analysis.comparison import PairTest
from harness.api import HarnessError
from harness.executors.ray_pool import Executor
from harness.formatting import listed
from harness.registry import is_control
from harness.repeats.finished import Call
from harness.reporting.comparison_report import build
from harness.reporting.losses import quoted
from harness.reproduction.claims import judge
from harness.reproduction.experiment_spec import ALL, ExperimentSpec, common, experiments
from harness.reproduction.measuring import Side, measure, read_sides, task_metrics
from harness.reproduction.page import joined, page
from harness.reproduction.paper_figures import draw
from harness.reproduction.reported import reported
from harness.reproduction.result import Measured, Reproduction
from harness.reproduction.verdicts import placed
from harness.results.records import CellRecord
from harness.results.store import Store
from harness.results.writing import replacing, write_text
from harness.specs.explaining import explain
from harness.specs.run_spec import BASELINE, CellSpec
from harness.sweeps.point_result import PointResult
from harness.sweeps.points import SweepListener, run_points
from harness.sweeps.sweep_spec import Point

_SHOWN = 60  # characters of a setting


def reproduce(
    spec: ExperimentSpec,
    points: Sequence[Point],
    preset: str,
    out: Path,
    listener: SweepListener,
    compute: bool = True,
    executor: Executor = "local",
    call: Call | None = None,
) -> Reproduction:
    """One experiment under OUT/<name>/, its cells shared with the others of OUT; without `compute`, from its records.
    `call`: as in `run_points`.

    Raises HarnessError where there is nothing to rebuild from.
    """
    folder = out / spec.name
    if compute:
        results = run_points(points, folder, listener, pool=out / "cells", executor=executor, call=call)
    else:
        results = _recorded(points, folder)
    result = assemble(spec, results, preset)
    write(result, folder)
    return result


def assemble(spec: ExperimentSpec, results: Sequence[PointResult], preset: str) -> Reproduction:
    """The experiment's numbers and verdicts, from the records in the points' folders."""
    shared, printed, metrics = common(), reported(), task_metrics(results)
    asked = results[0].point.spec
    layout = spec.layout.showing([method.label for method in asked.methods])
    sides = read_sides(results, layout, metrics)
    counterparts = {side.model: shared.counterparts.get(side.model, "") for side in sides}
    records = {record.spec.digest: record for side in sides for record in side.records}
    if not records:
        raise HarnessError(f"{spec.title}: no cell is finished yet in {results[0].folder}.")
    first = next(iter(records.values()))
    settings = asked.model_dump(mode="json")
    other = set(asked.tasks) != set(spec.tasks(preset))
    return Reproduction(
        name=spec.name,
        title=spec.title,
        source=spec.source,
        preset=preset,
        note=spec.overlay(preset).note,
        layout=layout,
        models=counterparts,
        # Of the data's folder the last part: the others say more about a machine than about the run.
        settings=settings | {"data": Path(asked.data).resolve().name},
        rows=measure(sides, layout, metrics, spec.name, printed, counterparts),
        claims=judge(sides, spec, metrics, printed, counterparts),
        notes=_notes(sides, list(records.values())),
        cells={digest: _spent(record) for digest, record in records.items()},
        failed=sum(record.status == "failed" for record in records.values()),
        provenance={"hardware": first.hardware, "versions": first.versions, "git": first.git},
        left_out=spec.left_out,
        departures=spec.departures(preset, asked),
        scope=listed([shared.names.get(task, task) for task in sorted(asked.tasks)]) if other else "",
        tests=_told(sides[0]) if layout.columns else [],
        configs={record.spec.label: _without_files(record.spec) for record in sides[0].records},
    )


def write(result: Reproduction, folder: Path) -> None:
    """`<name>.png`, `.csv`, `.md` and, last, `.json`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{result.name}.md", page(result, common(), reported(), f"{result.name}.png"))
    _write_records(result, folder / result.name)


def read_results(out: Path) -> list[Reproduction]:
    """What OUT holds of the experiments, of this call and of earlier ones, in the paper's order."""
    return _read([out / spec.name / f"{spec.name}.json" for spec in experiments(ALL)])


def write_joined(results: Sequence[Reproduction], out: Path) -> Path:
    """OUT/reproduction.md."""
    path = out / "reproduction.md"
    write_text(path, joined(results, common(), reported(), "{name}/{name}.png"))
    return path


def write_docs(results: Sequence[Reproduction], docs: Path) -> Path:
    """DOCS/reproduction.md and, under DOCS/reproduction/, the records and plots it is made from. No samples.

    Of other presets than `tiny`, the embedded models' own, the page is DOCS/reproduction-<preset>.md. It keeps what
    DOCS holds of other experiments, and of these on other tasks, and begins with the `preface.md` among the records.
    """
    name = "-".join(["reproduction", *sorted({result.preset for result in results} - {"tiny"})])
    (docs / name).mkdir(parents=True, exist_ok=True)
    for result in results:
        _write_records(result, docs / name / result.slug)
    path = docs / f"{name}.md"
    write_text(path, docs_page(docs / name))
    return path


def docs_page(folder: Path) -> str:
    """The page that stands beside a folder of records."""
    preface = folder / "preface.md"
    known = preface.read_text(encoding="utf-8") if preface.is_file() else ""
    return joined(read_docs(folder), common(), reported(), folder.name + "/{slug}.png", known)


def _write_records(result: Reproduction, stem: Path) -> None:
    """What stands behind a page: the plot, the rows, and all of it."""
    import pandas as pd

    write_text(stem.with_name(f"{stem.name}.json"), result.model_dump_json(indent=1) + "\n")
    with replacing(stem.with_name(f"{stem.name}.csv")) as temporary:
        pd.DataFrame([_flat(row) for row in result.rows]).to_csv(temporary, index=False)
    with replacing(stem.with_name(f"{stem.name}.png")) as temporary:
        draw(result, common().names).savefig(temporary, format="png", dpi=110)


def read_docs(folder: Path) -> list[Reproduction]:
    """What a page is made from, in the paper's order, without what another result has with more tasks."""
    order = [spec.name for spec in experiments(ALL)]
    found = [result for result in _read(sorted(folder.glob("*.json"))) if result.name in order]
    found.sort(key=lambda result: order.index(result.name))
    return [result for result in found if not any(_covers(other, result) for other in found)]


def _covers(whole: Reproduction, part: Reproduction) -> bool:
    """Whether `whole` is the same experiment on the same models, users and seeds, with more tasks than `part`."""
    shared = ("data", "users", "seeds")
    return (
        (whole.name, whole.models) == (part.name, part.models)
        and all(whole.settings[key] == part.settings[key] for key in shared)
        and set(whole.tasks) > set(part.tasks)
    )


def _read(paths: Sequence[Path]) -> list[Reproduction]:
    found = []
    for path in paths:
        if path.exists():
            try:
                found.append(Reproduction.model_validate_json(path.read_text(encoding="utf-8")))
            except ValueError as error:  # pydantic's among them
                why = explain(error, Reproduction) if isinstance(error, ValidationError) else str(error)
                raise HarnessError(
                    f"{path} holds no result of an experiment: {why} Delete it, or rebuild it."
                ) from error
    return found


def _recorded(points: Sequence[Point], folder: Path) -> list[PointResult]:
    places = [(point, folder / "points" / point.slug) for point in points]
    for point, place in places:
        if not (place / "run.json").is_file():
            others = sorted({path.parent for path in folder.glob("points/*/run.json")} - {place for _, place in places})
            raise HarnessError(_not_begun(point, folder, others))
    return [PointResult(point, place, build(Store(place))) for point, place in places]


def _not_begun(point: Point, folder: Path, others: Sequence[Path]) -> str:
    """What to say of a point that `folder` does not hold: in what the one most like it, of `others`, is different."""
    asked = point.spec.model_dump(mode="json")
    there = [Store(place).read_run().spec.model_dump(mode="json") for place in others]
    different = [{name: (spec[name], x) for name, x in asked.items() if spec[name] != x} for spec in there]
    nearest = min(different, key=len, default={})
    told = [f"{name} is {_short(found)} there and {_short(own)} here" for name, (found, own) in nearest.items()]
    under = f" under these settings: {listed(told)}. Give the options, or the preset, of that run" if told else ""
    what = point.label or "the experiment"
    return f"{folder} has nothing to rebuild {what} from{under}. Leave out --rebuild to compute it."


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _notes(sides: Sequence[Side], records: Sequence[CellRecord]) -> list[str]:
    """Where the clock bound, what failed, overran or served few, and the notes of the comparisons."""
    ended = ("complete", "budget_exhausted", "overran")
    fits = [record for record in records if record.spec.method != BASELINE and record.status in ended]
    stopped = [record for record in fits if record.status in ("budget_exhausted", "overran")]
    notes = [_ends(len(stopped), len(fits))]
    for record in records:
        if record.status in ("failed", "interrupted", "overran"):
            why = f": {record.reason}" if record.reason else ""
            over = f" took {record.fit_seconds:.1f} s of {record.spec.budget:g} s" if record.status == "overran" else ""
            notes.append(
                f"{record.spec.in_words}, budget {record.spec.budget:g} s: {record.status}{over}{why}".rstrip() + "."
            )
    notes += [
        f"{placed(row.label, side.tick)} on {row.task} served {row.users_served or 'none'} of its {row.users} users; "
        f"whom it did not serve is answered as by {BASELINE}."
        for side in sides
        for row in side.comparison.pooled
        if row.serves_nobody or row.serves_some
    ]
    notes += [
        f"{placed(row.label, side.tick)} on {row.task} had something of their own for {row.users_known or 'none'} of "
        f"{row.users_served} users; the others got what all share."
        for side in sides
        for row in side.comparison.pooled
        if row.knows_some
    ]
    notes += [
        f"{placed(row.label, side.tick)} on {row.task} answered every question with {quoted(row.sole_answer)}, whoever "
        "asked."
        for side in sides
        for row in side.comparison.pooled
        if row.sole_answer is not None
    ]
    return notes + list(dict.fromkeys(note for side in sides for note in side.comparison.notes))


def _ends(stopped: int, fits: int) -> str:
    """How many fits the clock ended."""
    if not fits:
        return "No fit came to an end."
    if stopped == fits:
        return f"The clock ended all {fits} fits."
    if not stopped:
        return f"All {fits} fits came to their natural end."
    return f"The clock ended {stopped} of {fits} fits; the others came to their natural end."


def _spent(record: CellRecord) -> float:
    """Seconds of fitting and answering; another cell's answers were no work."""
    return record.fit_seconds + (0.0 if record.answers_of else record.eval_seconds)


def _without_files(spec: CellSpec) -> dict[str, Any]:
    """A method's settings; where files lie says more about a machine than about the run."""
    files = {name.partition(".")[0] for name in spec.config_files}
    return {name: value for name, value in spec.config.items() if name not in files}


def _told(side: Side) -> list[PairTest]:
    """The tests that the page's answer is made from."""
    tests = (*side.comparison.comparisons, *side.comparison.likelihood_tests)
    against = [test for test in tests if test.b == BASELINE]
    return against + [t for t in tests if t.b != BASELINE and is_control(t.a) != is_control(t.b)]


def _flat(row: Measured) -> dict[str, object]:
    flat = row.model_dump(exclude={"interval", "improvement_interval"})
    for name, bounds in (("value", row.interval), ("improvement", row.improvement_interval)):
        flat[f"{name}_low"], flat[f"{name}_high"] = bounds or (None, None)
    return flat
