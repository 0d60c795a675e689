"""The personalizer that edits representations: banks of directions, a row per group, and who is served by which."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.api import EditPositions, Edits, HistoryItem, Personalizer, Query, Site, Task
from harness.methods.chameleon.bank_file import Bank, write_banks
from harness.methods.chameleon.directions import spread

_JSON, _TENSORS = "steering.json", "steering.safetensors"
_HOW = ("site", "positions", "bounded")


@dataclass(frozen=True)
class Banks:
    """What `Edits` needs besides rows: banks [G, len(layers), d] or None, `strength` [G, len(layers)] or None.

    With `places` [G, l], `personal` and `neutral` are [G, l, d] and stand at these of the layers, zeros at the others.
    """

    layers: tuple[int, ...]
    personal: torch.Tensor | None = None
    neutral: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    strength: torch.Tensor | None = None
    places: torch.Tensor | None = None
    site: Site = "mlp"
    positions: EditPositions = "all"
    bounded: bool = False

    @property
    def how(self) -> dict[str, Any]:
        """Where and how the banks edit, by the names that `Edits` has for it; `bounded` only if they are."""
        return {name: getattr(self, name) for name in _HOW if name != "bounded" or self.bounded}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The banks that are there, by name, each with all layers."""
        return {name: self._rows(name, bank, slice(None)) for name, bank in self._given().items()}

    def parts(self) -> dict[str, Any]:
        """What `Edits` needs besides layers and rows."""
        return {**self.tensors(), **self.how}

    def dense(self) -> "Banks":
        """The same without `places`."""
        return Banks(self.layers, **self.parts())

    def save(self, path: Path) -> None:
        """Write `tensors()` as safetensors, a few groups at a time."""
        banks = {}
        for name, bank in self._given().items():
            shape = (len(bank), len(self.layers), *bank.shape[2:])
            banks[name] = Bank(shape, partial(self._rows, name, bank))
        write_banks(banks, path)

    def _given(self) -> dict[str, torch.Tensor]:
        banks = {"personal": self.personal, "neutral": self.neutral, "offset": self.offset, "strength": self.strength}
        return {name: bank for name, bank in banks.items() if bank is not None}

    def _rows(self, name: str, bank: torch.Tensor, groups: slice) -> torch.Tensor:
        if self.places is None or name not in ("personal", "neutral"):
            return bank[groups]
        return spread(bank[groups], self.places[groups], len(self.layers))


@dataclass
class Steering(Personalizer):
    """Edits the answers of every user who has a row; `default_row` is for users not in `rows`, -1 for no edit.

    `insights` (personal, by user) is empty unless queries are asked with the agent's prompt, an ablation.
    """

    task: Task
    banks: Banks | None
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
        return Edits(self.banks.layers, rows, **self.banks.parts())

    def serves(self, query: Query) -> bool:
        return self._row(query) >= 0 or query.user in self.insights

    def save(self, directory: Path) -> None:
        state: dict[str, Any] = {"layers": None, "rows": self.rows, "default_row": self.default_row}
        state["insights"] = self.insights
        if self.banks is not None:
            state |= {"layers": self.banks.layers, **self.banks.how}
        (directory / _JSON).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")
        if self.banks is not None:
            self.banks.save(directory / _TENSORS)

    @staticmethod
    def load(directory: Path, task: Task) -> "Steering":
        """Read what `save` wrote; the banks stay on disk, and only the rows that are asked for are read."""
        state = json.loads((directory / _JSON).read_text(encoding="utf-8"))
        layers = state.pop("layers")
        parts: dict[str, Any] = {name: state.pop(name) for name in _HOW if name in state}
        if layers is None:
            return Steering(task, None, **state)
        parts |= load_file(directory / _TENSORS)
        return Steering(task, Banks(tuple(layers), **parts), **state)

    def _row(self, query: Query) -> int:
        return self.rows.get(query.user, self.default_row) if self.banks is not None else -1
