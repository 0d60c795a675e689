"""What a person sees while a run goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.formatting import plain
from harness.results.records import CellRecord
from harness.running.clock import BudgetClock
from harness.running.preparation import Prepared
from harness.specs.run_spec import CellSpec

_COLOURS = {
    "complete": "green",
    "budget_exhausted": "yellow",
    "overran": "red",
    "failed": "red",
    "interrupted": "yellow",
}


class Quiet:
    """Tells nobody."""

    def point(self, number: int, total: int, label: str) -> None:
        """Ignored."""

    def stage(self, text: str) -> None:
        """Ignored."""

    def prepared(self, prepared: Prepared) -> None:
        """Ignored."""

    def planned(self, cells: Sequence[CellSpec]) -> None:
        """Ignored."""

    def recomputing(self, cell: CellSpec, why: str) -> None:
        """Ignored."""

    def fitting(self, cell: CellSpec, clock: BudgetClock) -> None:
        """Ignored."""

    def evaluating(self, cell: CellSpec, queries: int) -> None:
        """Ignored."""

    def answered(self, queries: int) -> None:
        """Ignored."""

    def finished(self, record: CellRecord, reused: bool) -> None:
        """Ignored."""


class Display(Quiet):
    """Prints a line per event and, on a terminal, keeps the running cell's phase and budget below them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun = time.monotonic()
        self._cells = 0
        self._done = 0
        self._stage = ""
        self._point: tuple[int, int] | None = None
        self._cell: CellSpec | None = None
        self._clock: BudgetClock | None = None
        self._queries = 0
        self._answered = 0
        self._live = Live(get_renderable=self._render, console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()

    def point(self, number: int, total: int, label: str) -> None:
        """Print the point, and keep an overall bar of a sweep."""
        self._point, self._cells, self._done = (number, total), 0, 0
        self._print(f"[bold]Point {number} of {total}: {escape(label)}[/bold]")

    def stage(self, text: str) -> None:
        """Print what is being done."""
        self._stage, self._cell, self._clock = text, None, None
        self._print(f"[dim]{escape(text)} ...[/dim]")

    def prepared(self, prepared: Prepared) -> None:
        """Print the size of the data and whatever a reader must know about it."""
        data, users = prepared.data, len(prepared.whole)
        there = len({query.user for query in data.queries})
        left = f" (the first of {there}: --users and --limit say how many)" if users < there else ""
        self._print(
            f"  {escape(prepared.task.name)}: {len(prepared.queries)} queries of {users} users{left}, "
            f"split {escape(data.split)}, {prepared.leaks_removed} leaking history items removed"
        )
        for note in data.notes:
            self._print(f"  [yellow]{escape(plain(note))}[/yellow]")
        for fault in data.faults[:3]:
            self._print(f"  [yellow]{'kept' if fault.kept else 'skipped'} {escape(str(fault))}[/yellow]")
        if len(data.faults) > 3:
            self._print(
                f"  [yellow]... and {len(data.faults) - 3} more faults; `harness data check` lists them[/yellow]"
            )

    def planned(self, cells: Sequence[CellSpec]) -> None:
        """Remember how many cells there are."""
        self._cells, self._done = len(cells), 0

    def recomputing(self, cell: CellSpec, why: str) -> None:
        """Print why a cell is computed again."""
        self._print(f"  [yellow]Computing {escape(cell.in_words)} again: {escape(why)}[/yellow]")

    def fitting(self, cell: CellSpec, clock: BudgetClock) -> None:
        """Follow this clock."""
        self._stage, self._cell, self._clock = "fitting", cell, clock

    def evaluating(self, cell: CellSpec, queries: int) -> None:
        """Show that answers are being made."""
        self._stage, self._cell, self._clock = "evaluating", cell, None
        self._queries, self._answered = queries, 0

    def answered(self, queries: int) -> None:
        """Move the evaluation's bar."""
        self._answered = queries

    def finished(self, record: CellRecord, reused: bool) -> None:
        """Print the cell's line."""
        self._done += 1
        metrics = "  ".join(f"{name} {value:.3f}" for name, value in record.metrics.items())
        taken = f"answers of {Path(record.answers_of).name}" if record.answers_of else ""
        cost = "reused" if reused else f"fit {record.fit_seconds:.1f}s  {taken or f'eval {record.eval_seconds:.1f}s'}"
        colour = _COLOURS[record.status]
        name = f"{record.spec.task:<6} {escape(record.spec.label):<34} seed {record.spec.seed}"
        self._print(
            f"{self._done:>3}/{self._cells} {name}  [{colour}]{record.status:<16}[/{colour}] {metrics}  "
            f"[dim]{cost}[/dim] {escape(plain(record.reason[:160]))}"
        )

    def _print(self, text: str) -> None:
        self.console.print(text, markup=True, emoji=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        head = f"{self._done}/{self._cells} cells, {time.monotonic() - self._begun:.0f}s since the start"
        if self._cell is None:
            return Group(*self._overall(), Text(f"{head}: {self._stage}"))
        line = f"{head}: {self._cell.task} {self._cell.label} seed {self._cell.seed}, {self._stage}"
        return Group(*self._overall(), Text(line), self._bar())

    def _overall(self) -> list[RenderableType]:
        if self._point is None:
            return []
        number, total = self._point
        done = number - 1 + (self._done / self._cells if self._cells else 0)
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(f"point {number} of {total}"), ProgressBar(total=total, completed=done, width=40))
        return [row]

    def _bar(self) -> RenderableType:
        if self._clock is None:
            name, done, total = "answers", float(self._answered), float(self._queries)
            left = f"{self._answered} of {self._queries} queries"
        else:
            name, done, total = self._clock.current or "...", self._clock.elapsed(), self._clock.budget
            left = f"{self._clock.remaining():.0f}s of {total:.0f}s left"
        row = Table.grid(padding=(0, 1))
        row.add_row(Text(name), ProgressBar(total=total, completed=min(done, total), width=40), Text(left))
        return row
