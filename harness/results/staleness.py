"""Why a cell that was computed once has to be computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.results.records import CELL_SCHEMA, CellRecord
from harness.results.store import Store
from harness.specs.run_spec import CellSpec, format_value

Parts = Mapping[str, Mapping[str, str]]  # field of CellSpec -> what its hash was made from -> hash

_SHOWN = 4  # names of one kind; a new version of the harness changes dozens of modules
_HASHED = {
    "method_source": "method source",
    "task_source": "task source",
    "engine_source": "engine source",
    "model_fingerprint": "model files",
    "embedder_fingerprint": "embedder files",
    "data_fingerprint": "data",
    "fit_data_fingerprint": "data to fit on",
    "config_files": "content of",
}
_WORDS = {**_HASHED, "libraries": "library"}


def changed(store: Store, spec: CellSpec, parts: Parts) -> str:
    """What is otherwise today than when the store's run last came to this cell; "" if it never did."""
    earlier = store.earlier(spec)
    return changes(earlier, spec, parts) if earlier else ""


def changes(record: CellRecord, spec: CellSpec, parts: Parts) -> str:
    """What is otherwise today than when `record` was made, e.g. "engine source harness.model.editing; data"."""
    if record.schema_version != CELL_SCHEMA:
        return "recorded by another version of the harness, which did not note all that decides a score"
    before, now = record.spec.model_dump(), spec.model_dump()
    recorded = {**record.parts, "config_files": record.spec.config_files}
    wanted = {**parts, "config_files": spec.config_files}
    return "; ".join(
        f"{_WORDS.get(field, field)} {_detail(field, before[field], now[field], recorded, wanted)}".rstrip()
        for field in before
        if before[field] != now[field]
    )


def _detail(field: str, before: Any, now: Any, recorded: Parts, wanted: Parts) -> str:
    if field in _HASHED:
        old, new = recorded.get(field, {}), wanted.get(field, {})
        return _listed([name for name in {**old, **new} if old.get(name) != new.get(name)])
    if isinstance(before, dict):
        return _listed(list(_steps(before, now)))
    return f"{_shown(before)} -> {_shown(now)}"


def _steps(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            yield f"{key} {_shown(before.get(key))} -> {_shown(now.get(key))}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shown(value: Any) -> str:
    return "none" if value is None else format_value(value)
