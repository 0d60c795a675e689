"""`harness check`: repeat, compare, print, and after review accept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.api import HarnessError
from harness.gate.baseline import ANSWERING, NO_TIME, Baseline, Run, read, relative, require_cells, write
from harness.gate.difference_lines import lines, provenance
from harness.gate.differences import Difference, compare
from harness.gate.repeating import Repetition, repeat
from harness.results.disk import require_folder
from harness.running.progress import Display
from harness.specs.resolve import resolve
from harness.specs.run_spec import RunSpec


def check(path: Path, console: Console) -> int:
    """Repeat what the baseline describes; 1 if anything came out otherwise, else 0. Raises HarnessError (status 2)."""
    baseline = read(path)
    require_cells(baseline, path)
    repetition, differences = repeat_and_compare(baseline, path, console)
    _print_differences(baseline, repetition, differences, console)
    failed = [difference for difference in differences if not difference.tolerated]
    if not failed:
        _print(f"All {len(repetition.cells)} cells are as in {path}.", console, "green")
        return 0
    _print(f"{len(failed)} of {len(repetition.cells)} cells differ from {path}.", console, "red")
    _print(f"If every difference is meant: harness check --baseline {path} --update", console)
    return 1


def update(path: Path, specs: Sequence[RunSpec], console: Console) -> int:
    """Repeat, print what differs from the baseline so far, and write what came out in its place.

    `specs` replace the runs of the file; without any, its own runs are repeated. Raises HarnessError, and writes
    nothing, where a method failed.
    """
    require_folder(path.parent)
    runs = [
        Run(name=name, spec=relative(spec, path)) for name, spec in zip(("answers", "no time"), specs, strict=False)
    ]
    known = read(path) if path.exists() or not runs else None
    baseline = Baseline(runs=runs) if known is None else known.model_copy(update={"runs": runs or known.runs})
    repetition, differences = repeat_and_compare(baseline, path, console)
    if baseline.cells:
        _print_differences(baseline, repetition, differences, console)
    _require_answers(repetition, path)
    made = baseline.model_copy(update={"cells": repetition.cells, "made_with": repetition.made_with})
    write(made, path)
    accepted = f", {len(differences)} of them accepted as they are now" if baseline.cells else ""
    _print(f"Wrote {path}: {len(repetition.cells)} cells{accepted}. Review its diff and commit it.", console)
    return 0


def _require_answers(repetition: Repetition, path: Path) -> None:
    """A baseline of failures would be met by whoever goes on failing."""
    failed = [cell for cell in repetition.cells if cell.status == "failed"]
    if failed:
        first = failed[0]
        raise HarnessError(
            f"{len(failed)} of {len(repetition.cells)} cells failed, so {path} was not written: a gate that expects a "
            f"failure guards nothing. The first is {first.key}: {first.reason}. Mend the method, or leave it out."
        )


def plan(
    methods: str | None, tasks: str | None, preset: str, model: str | None, data: str | None, users: int
) -> list[RunSpec]:
    """The same cells twice: with time for everything, and with none, where a fit must stop at once and still answer."""
    if methods is None:
        return []
    spec = resolve(methods, tasks, preset, budget=ANSWERING, model=model, data=data, users=users)
    return [spec, spec.model_copy(update={"budget": NO_TIME})]


def repeat_and_compare(baseline: Baseline, path: Path, console: Console) -> tuple[Repetition, list[Difference]]:
    """What the baseline's runs give now, and where that differs from what it holds."""
    with Display(console) as display:
        repetition = repeat(baseline, path, display)
    return repetition, compare(baseline.cells, repetition.cells, baseline.tolerance)


def _print_differences(
    baseline: Baseline, repetition: Repetition, differences: Sequence[Difference], console: Console
) -> None:
    explained = provenance(baseline.made_with, repetition.made_with) if differences else ()
    for line in [*repetition.notes, *lines(differences), *explained]:
        _print(line, console)


def _print(line: str, console: Console, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
