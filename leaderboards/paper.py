"""The paper's numbers: reported on other models and data, shown beside ours and never ranked with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.leaderboards.json_files import read_model

FILE = Path(__file__).parent / "paper.json"


class Entry(BaseModel):
    """One reported number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    experiment: str
    task: str
    metric: str
    model: str
    method: str
    variant: str
    regime: str
    value: float
    setting: dict[str, Any] = {}

    @property
    def row(self) -> tuple[str, str, str, str, str, str, str]:
        """What the metrics of one row have in common."""
        setting = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in sorted(self.setting.items()))
        return self.experiment, setting, self.task, self.model, self.method, self.variant, self.regime


class Paper(BaseModel):
    """paper.json."""

    model_config = ConfigDict(extra="ignore")

    source: str
    entries: list[Entry]


@dataclass
class Reported:
    """The metrics that the paper gives for a method in one setting."""

    experiment: str
    setting: str
    task: str
    model: str
    method: str
    variant: str
    regime: str
    metrics: dict[str, float]


def read_paper() -> tuple[str, list[Reported]]:
    """(source, rows) from the package's own paper.json; nothing if the package comes without it."""
    if not FILE.exists():
        return "", []
    paper = read_model(Paper, FILE, "Install the package again.")
    rows: dict[tuple[str, str, str, str, str, str, str], Reported] = {}
    for entry in paper.entries:
        rows.setdefault(entry.row, Reported(*entry.row, metrics={})).metrics[entry.metric] = entry.value
    return paper.source, list(rows.values())
