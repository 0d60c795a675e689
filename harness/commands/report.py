"""`harness report`: rebuild tables and plots from the records of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from harness.commands.options import path_argument


def report(folder: Annotated[Path, path_argument("The --out of a comparison.")]) -> None:
    """Rebuild tables and plots from the records of a run."""
    from harness.commands.terminal import console
    from harness.reporting.comparison_report import build, print_report, write
    from harness.results.store import Store

    comparison = build(Store(folder))
    print_report(comparison, console)
    write(comparison, folder)  # after it: who may only read the folder sees the tables
