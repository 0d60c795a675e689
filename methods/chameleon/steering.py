"""The personalizer that edits representations: banks of directions, a row per group, and who is served by which."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from harness.api import Edits, HistoryItem, Personalizer, Query, Task

_JSON, _TENSORS = "steering.json", "steering.safetensors"
_BANKS = ("personal", "neutral", "offset", "strength", "places")
_HOW = ("site", "positions", "bounded")


@dataclass
class Steering(Personalizer):
    """Edits the answers of every user who has a row; `default_row` is for users not in `rows`, -1 for no edit.

    `banks` are edits without rows of their own, None where nobody has a direction.
    `insights` (personal, by user) is empty unless queries are asked with the agent's prompt, an ablation.
    """

    task: Task
    banks: Edits | None
    rows: dict[str, int]
    default_row: int = -1
    insights: dict[str, str] = field(default_factory=dict)

    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        insight = self.insights.get(query.user, "")
        if insight:
            return self.task.prompts.personal(query.text, history, insight)
        return self.bare_prompt(query, history)

    def bare_prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        return self.task.prompts.base(query.text, history)

    def edits(self, queries: Sequence[Query]) -> Edits | None:
        rows = tuple(self._row(query) for query in queries)
        if self.banks is None or max(rows, default=-1) < 0:
            return None
        return replace(self.banks, rows=rows)

    def serves(self, query: Query) -> bool:
        return self._row(query) >= 0 or query.user in self.insights

    def save(self, directory: Path) -> None:
        state: dict[str, Any] = {"layers": None, "rows": self.rows, "default_row": self.default_row}
        state["insights"] = self.insights
        if self.banks is not None:
            state |= {"layers": self.banks.layers, **{name: getattr(self.banks, name) for name in _HOW}}
            given = {name: getattr(self.banks, name) for name in _BANKS}
            save_file({name: bank for name, bank in given.items() if bank is not None}, directory / _TENSORS)
        (directory / _JSON).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    @staticmethod
    def load(directory: Path, task: Task) -> "Steering":
        """Read what `save` wrote; the banks stay on disk, and only the rows that are asked for are read."""
        state = json.loads((directory / _JSON).read_text(encoding="utf-8"))
        layers = state.pop("layers")
        parts: dict[str, Any] = {name: state.pop(name) for name in _HOW if name in state}
        if layers is None:
            return Steering(task, None, **state)
        parts |= load_file(directory / _TENSORS)
        return Steering(task, Edits(tuple(layers), (), **parts), **state)

    def _row(self, query: Query) -> int:
        return self.rows.get(query.user, self.default_row) if self.banks is not None else -1
