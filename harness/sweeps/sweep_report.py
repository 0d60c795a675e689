"""A sweep as people read it: tables on the screen and in Markdown, plots, and the files of a sweep's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

from harness.formatting import markdown, plain
from harness.reporting.comparison_report import markdown_table, print_table
from harness.reporting.instruments import with_instruments
from harness.results.writing import replacing, write_text
from harness.specs.run_spec import SCHEMA_VERSION
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_plots import write_plots
from harness.sweeps.sweep_spec import SweepSpec
from harness.sweeps.sweep_table import frame, tables

_LEGEND = (
    "Bold: best of its point. ≈: not told apart from it. [ ]: 95% interval, bootstrap over users. Each point is tested "
    "by itself; between points nothing is tested. Every point's own tables stand in points/."
)


@dataclass(frozen=True)
class Written:
    """What a sweep left: all files, those of them that are plots, and why there is none if there is none."""

    paths: list[Path]
    plots: list[Path]
    why_no_plot: str


def write(sweep: SweepSpec, results: Sequence[PointResult], out: Path) -> Written:
    """Write sweep.{csv,md,json} and plots/*.png under `out`, each atomically; sweep.json comes last."""
    lines = frame(results)
    plots, why_not = write_plots(results, out / "plots")
    paths = [out / f"sweep.{suffix}" for suffix in ("csv", "md", "json")]
    with replacing(paths[0]) as temporary:
        lines.to_csv(temporary, index=False)
    write_text(paths[1], to_markdown(sweep, results, plots, why_not))
    content = {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.model_dump(mode="json", exclude_unset=True),
        "points": [
            {"values": r.point.values, "label": r.point.label, "folder": r.folder.relative_to(out).as_posix()}
            for r in results
        ],
        "rows": json.loads(lines.to_json(orient="records")),
    }
    write_text(paths[2], json.dumps(content, indent=2, ensure_ascii=False))
    return Written([*paths, *plots], plots, why_not)


def to_markdown(sweep: SweepSpec, results: Sequence[PointResult], plots: Sequence[Path], why_not: str) -> str:
    """`sweep.md`. Text from outside is escaped."""
    parts = [f"# Sweep {markdown(sweep.name)}", markdown(sweep.description), markdown(legend(results))]
    parts += [f"![{markdown(path.stem)}](plots/{quote(path.name)})" for path in plots] or [markdown(why_not)]
    parts += [markdown_table(table) for table in tables(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def print_results(results: Sequence[PointResult], written: Written, console: Console) -> None:
    """Print the tables, how to read them, and what could not be drawn."""
    for table in tables(results):
        print_table(table, console)
    console.print(Text(legend(results), style="dim"))
    if written.why_no_plot:
        console.print(Text(plain(written.why_no_plot), style="yellow"))


def legend(results: Sequence[PointResult]) -> str:
    """How to read the tables; says so if a model is a test instrument."""
    tested = with_instruments(result.point.spec.model for result in results)
    return f"{_LEGEND} Made {tested}." if tested else _LEGEND
