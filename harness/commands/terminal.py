"""What commands share once they work: the console and a first sign of life."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.api import printable

if TYPE_CHECKING:
    from harness.repeats.finished import Call
    from harness.reporting.wandb_session import Mode

WIDTH = 150  # columns where no terminal says how wide it is, so that tables in a log are not folded

# What is printed holds paths, names and answers: `[..]` and `:x:` in them are theirs. Colour comes from `style=`.
console = Console(width=None if sys.stdout.isatty() else WIDTH, markup=False, emoji=False, highlight=False)


def set_up() -> None:
    """Have libraries that will be imported keep quiet, and warnings read as sentences."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.formatwarning = _format_warning


def announce() -> None:
    """Say at once that work has begun: the imports that come next take seconds."""
    set_up()
    console.print("Importing torch and the methods ...", style="dim")


@contextmanager
def repeating(call: Call, out: Path, wandb: str) -> Iterator[Mode]:
    """What has finished in `out` is printed inside, and logged as the mode given says.

    That is `wandb`, as the user wrote it; disabled where an offline W&B run has the results, which is named at the end.
    """
    from harness.repeats.tracked_once import tracked
    from harness.reporting.wandb_session import require_mode

    set_up()
    run = tracked(call, out, wandb)
    yield require_mode(wandb) if run is None else "disabled"
    if run is not None:
        console.print(f"W&B: {run} has it since it finished; `wandb sync {run}` sends it.", soft_wrap=True)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A sentence for whoever runs the command; where the code stands that warned tells them nothing."""
    return printable(f"Warning: {message}", keep="\n") + "\n"


def warn_if_crowded() -> None:
    """Say before the work if torch's threads do not fit beside what else the machine does."""
    from harness.results.crowding import crowding_here

    if found := crowding_here():
        console.print(f"Warning: {found}", style="yellow", soft_wrap=True)
