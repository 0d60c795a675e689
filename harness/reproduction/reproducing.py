"""What `harness reproduce` does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.api import HarnessError
from harness.executors.ray_pool import Executor
from harness.formatting import memory, seconds
from harness.registry import PRESETS
from harness.repeats.finished import Call
from harness.reporting.comparison_report import print_table
from harness.reporting.tracking import track
from harness.reporting.wandb_session import Mode, require_mode
from harness.reproduction.experiment_spec import ALL, ExperimentSpec, common, experiments
from harness.reproduction.experiments import read_results, reproduce, write_docs, write_joined
from harness.reproduction.forecast import BYTES_PER_CELL, Forecast, plans
from harness.reproduction.page import RULE, instrument, setting
from harness.reproduction.paper_layouts import legend, main_table
from harness.reproduction.result import Reproduction
from harness.reproduction.verdicts import sentence
from harness.results.discarding import discard, remove
from harness.results.disk import require_folder
from harness.results.locking import alone
from harness.results.store import Store
from harness.running.progress import Display
from harness.sweeps.sweep_spec import Point

Chosen = Sequence[tuple[ExperimentSpec, Sequence[Point]]]


def choose(
    name: str,
    preset: str,
    models: Sequence[str],
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    **given: Any,
) -> Chosen:
    """The experiments of that name with their points, without the tasks that the data lack.

    `overrides`, settings by method, count where the method runs, and change no experiment's own axis. Of all, one that
    the data cannot serve is left out with a warning. Raises HarnessError before anything is computed.
    """
    PRESETS.target(preset)  # an unknown one is refused as such, and not for its lack of data
    found = []
    known = experiments(name)
    for method in overrides or {}:
        if not any(spec.runs(method, preset) for spec in known):
            raise HarnessError(f"--set names '{method}', which is not among the methods of {name}.")
    for spec in known:
        own = {
            f"{method}.{key}": value
            for method, fields in (overrides or {}).items()
            for key, value in fields.items()
            if spec.runs(method, preset)
        }
        try:
            spec = spec.within(preset, **given)
        except HarnessError as error:
            if name != ALL:
                raise
            warnings.warn(f"Left out: {error}", stacklevel=2)
        else:
            found.append((spec, spec.points(preset, models, **given, **own)))
    return found


def print_plan(chosen: Chosen, preset: str, out: Path, console: Console, fresh: bool = False) -> None:
    """Cells, time and disk, as far as they can be known beforehand; `fresh` leaves all cells to be computed."""
    forecast = Forecast(out, common().paces)
    table = Table("experiment", "points", "cells", "not shared with those above", "time at most", "time expected")
    expected = []
    found = plans(chosen)
    for plan, (spec, _) in zip(found, chosen, strict=True):
        expected.append(forecast.seconds(plan.own, spec.overlay(preset).seconds_per_cell))
        shown = "unknown" if expected[-1] is None else seconds(expected[-1])
        table.add_row(plan.name, str(plan.points), str(plan.cells), str(plan.new), seconds(plan.at_most), shown)
    console.print(table)
    for spec, _ in chosen:
        for task, why in spec.left_out.items():
            console.print(Text(f"{spec.name} is without {task}: {why}."), soft_wrap=True)
    cells = sum(plan.new for plan in found)
    known = [value for value in expected if value is not None]
    about = f", about {seconds(sum(known))} expected" if len(known) == len(expected) else ""
    left = [list(plan.own) if fresh else forecast.left(plan.own) for plan in found]
    if (count := sum(map(len, left))) < cells:
        rest = [
            forecast.seconds(own, s.overlay(preset).seconds_per_cell) for own, (s, _) in zip(left, chosen, strict=True)
        ]
        about += f", about {seconds(sum(value or 0.0 for value in rest))} of it for the {count} cells that are left"
    console.print(
        f"{cells} cells, at most {seconds(sum(plan.at_most for plan in found))} of fitting{about}, answering besides; "
        f"about {memory(cells * BYTES_PER_CELL)} on disk.",
        highlight=False,
        soft_wrap=True,
    )


def run_reproduce(
    chosen: Chosen,
    preset: str,
    out: Path,
    console: Console,
    wandb: str = "disabled",
    fresh: bool = False,
    compute: bool = True,
    docs: Path | None = None,
    executor: Executor = "local",
    call: Call | None = None,
) -> int:
    """Run or rebuild the experiments, print and write them; 1 if a cell failed, else 0."""
    mode = require_mode(wandb)
    results = []
    for folder in (out, *([docs] if docs else [])):
        require_folder(folder)
    with alone(out) if compute else nullcontext(), Display(console) as display:
        if fresh:
            discard(out / "cells", *(out / spec.name / "points" for spec, _ in chosen))
            for spec, _ in chosen:
                remove(out / spec.name / f"{spec.name}.json")  # else the joint page has it until there is another
        for spec, points in chosen:
            display.stage(spec.title)
            try:
                results.append(reproduce(spec, points, preset, out, display, compute, executor, call))
            except HarnessError as error:
                if compute or len(chosen) == 1:
                    raise
                warnings.warn(f"Left out: {error}", stacklevel=2)  # it has not begun
    for result in results:
        print_result(result, console)
    console.print(Text(RULE, style="dim"))
    everything = read_results(out)
    written = [write_joined(everything, out), *([write_docs(everything, docs)] if docs else [])]
    for path in written:
        console.print(Text(f"Written: {path}"), soft_wrap=True)
    for result in results if mode != "disabled" else ():
        _track(result, next(points for spec, points in chosen if spec.name == result.name), out, mode)
    return int(any(result.failed for result in results))


def print_result(result: Reproduction, console: Console) -> None:
    """The table or the figure's numbers, then a sentence per claim."""
    console.print(Text(f"\n{result.heading}\n{setting(result)}", style="bold"))
    for line in instrument(result.models):
        console.print(Text(line, style="dim"))
    print_table(main_table(result, common().names), console)
    console.print(Text(legend(result), style="dim"))
    for text in (*map(sentence, result.claims), *(f"Note: {note}" for note in result.notes)):
        console.print(Text(text), end="\n\n")


def _track(result: Reproduction, points: Sequence[Point], out: Path, mode: Mode) -> None:
    """A run for every point, and one for what they come to."""
    from harness.reporting.comparison_report import build
    from harness.reproduction.result_tracking import track_result

    for point in points:
        folder = out / result.name / "points" / point.slug
        track(build(Store(folder)), folder, mode)
    track_result(result, out / result.name, mode)
