"""`harness doctor`: what this machine has, what does not fit, and how long a comparison would take on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.results.examination import Finding
    from harness.specs.run_spec import RunSpec


def doctor(
    methods: Annotated[str, typer.Option(help="Of the comparison to estimate, as in `harness compare`.")] = "all",
    budget: Annotated[str, typer.Option(help="Of that comparison.")] = "20m",
    tasks: Annotated[str | None, typer.Option(help="Of that comparison (default: the preset's).")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="Of that comparison.")] = "tiny",
    users: Annotated[int | None, typer.Option(help="Of that comparison (default: the preset's).")] = None,
    seeds: Annotated[str | None, typer.Option(help="Of that comparison.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Ask whether the hub of models answers.")] = False,
) -> None:
    """Show cores, load, threads, devices, memory, packages and models, and what does not fit.

    Estimates how long a comparison with these options would take. Sends nothing over the network without --online.
    """
    from harness.commands.terminal import announce, console
    from harness.specs.run_spec import parse_budget, parse_seeds

    announce()
    from harness.results.examination import machine, models, packages
    from harness.specs.resolve import resolve

    chosen = None if seeds is None else parse_seeds(seeds)
    spec = resolve(methods, tasks, preset_name, budget=parse_budget(budget), users=users, seeds=chosen)
    _print("machine", machine())
    _print("package", packages())
    _print("model", models(online))
    console.print(_estimate(spec), soft_wrap=True)


def _print(title: str, findings: Iterable[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.commands.terminal import console

    table = Table(title, "found", "to do")
    for finding in findings:
        table.add_row(finding.what, finding.found, Text(finding.advice, "yellow"))
    console.print(table)


def _estimate(spec: RunSpec) -> str:
    """The most that fitting takes, and answering as well where an earlier run of the model tells how fast it is."""
    from harness.formatting import seconds
    from harness.reproduction.forecast import answering_seconds
    from harness.sweeps.planned_cells import planned_cells

    budgets = [cell for _, cell in planned_cells(spec)]
    text = f"A comparison with these options has {len(budgets)} cells: at most {seconds(sum(budgets))} of fitting"
    answering = answering_seconds(spec)
    if answering is None:
        return f"{text}, and answering besides, which takes how long a first run of {spec.model} under runs/ will show."
    return f"{text}, and about {seconds(answering)} of answering, as fast as the last run of {spec.model} was."
