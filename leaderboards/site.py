"""The static site: one table, a page per method and per run, and their assets. It needs no server and no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.api import HarnessError
from harness.leaderboards.json_files import write_whole
from harness.leaderboards.page_filters import FILTERS
from harness.leaderboards.paper import Reported, read_paper
from harness.leaderboards.record_schema import Record
from harness.leaderboards.recording import read_records
from harness.leaderboards.views import INSTRUMENTS, REMARKS, Row, departures, flat, rows, slug

_HERE = Path(__file__).parent
_MARKER = ".leaderboard-site"  # tells a folder that `build` may clear from one that it may not


def build(records: Path, out: Path) -> None:
    """Write the site of a folder of records. Raises HarnessError for a bad record or a folder of something else."""
    found = read_records(records)
    if not found:
        raise HarnessError(f"{records} holds no record. Add a run with `harness leaderboard add RUN_DIR`.")
    pages = render(found)
    _claim(out)
    for name, text in pages.items():
        write_whole(out / name, text)


def render(records: list[Record]) -> dict[str, str]:
    """The pages by file name."""
    source, reported = read_paper()
    table = rows(records)
    shared = {"source": source, "instruments": INSTRUMENTS, "remarks": REMARKS, "departures": departures(records)}
    templates = _environment()
    pages = {"index.html": _index(templates, records, table, reported, shared)}
    for label in dict.fromkeys(row.result.label for row in table):
        own = [row for row in table if row.result.label == label]
        pages[f"methods/{slug(label)}.html"] = _method(templates, own, reported, shared)
    for record in records:
        own = [row for row in table if row.record is record]
        pages[f"runs/{record.id}.html"] = templates.get_template("run.html").render(
            shared,
            root="../",
            record=record,
            rows=own,
            controls=_distinct(*(row.controls for row in own)),
            everything=_specification(record),
        )
    return pages


def _index(
    templates: Environment, records: list[Record], table: list[Row], reported: list[Reported], shared: dict[str, Any]
) -> str:
    known = {row.result.label: row.page for row in table}
    filters = {
        "task": _distinct([row.result.task for row in table], [row.task for row in reported]),
        "model": _distinct([record.setting.model for record in records], [row.model for row in reported]),
        "regime": _distinct([record.setting.regime for record in records], [row.regime for row in reported]),
        "budget": {f"{seconds:g}": seconds for seconds in sorted({r.setting.budget_seconds for r in records})},
        "kind": _distinct([row.result.kind for row in table], ["reported"] if reported else []),
    }
    return templates.get_template("index.html").render(
        shared, root="", records=records, rows=table, reported=reported, pages=known, filters=filters
    )


def _method(templates: Environment, own: list[Row], reported: list[Reported], shared: dict[str, Any]) -> str:
    result = own[0].result
    known = [row for row in reported if (row.method, row.variant) == (result.method, result.variant)]
    configurations: list[tuple[dict[str, Any], list[Row]]] = []
    for row in own:
        configuration = flat(row.result.config)
        for seen, users in configurations:
            if seen == configuration:
                users.append(row)
                break
        else:
            configurations.append((configuration, [row]))
    return templates.get_template("method.html").render(
        shared, root="../", rows=own, result=result, reported=known, configurations=configurations
    )


def _specification(record: Record) -> dict[str, Any]:
    """What was asked, without what the table of results lists anyway."""
    return flat({key: value for key, value in record.setting.everything.items() if key not in ("methods", "tasks")})


def _distinct(*groups: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for group in groups for value in group))


def _environment() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= FILTERS
    return templates


def _claim(out: Path) -> None:
    """Empty an earlier site and lay out the assets. Raises HarnessError if the folder holds anything else."""
    if out.exists() and not out.is_dir():
        raise HarnessError(f"{out} is a file; name a folder.")
    if out.exists() and any(out.iterdir()) and not (out / _MARKER).exists():
        raise HarnessError(f"{out} is not empty and holds no earlier site. Choose another --out.")
    for part in ("assets", "methods", "runs"):
        shutil.rmtree(out / part, ignore_errors=True)
    write_whole(out / _MARKER, "Written by `harness leaderboard build`, which replaces this folder's files.\n")
    shutil.copytree(_HERE / "static", out / "assets")
