"""The numbers that the paper prints. They are never mixed with measured ones: they stand beside them, marked."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from harness.registry import REPORTED
from harness.specs.run_spec import join_label

PAPER = "paper"
Key = tuple[str, str, str, str, str]  # experiment, task, metric, model, label


class Reported(BaseModel):
    """`values` by experiment, task, metric, model and the method's label; `trends`: the text on figures."""

    source: str
    values: dict[Key, float]
    trends: dict[str, str]

    def value(self, experiment: str, task: str, metric: str, model: str, label: str) -> float | None:
        """The printed number, None if the paper prints none."""
        return self.values.get((experiment, task, metric, model, label))


@cache
def reported() -> Reported:
    """`paper.json`, found beside the module its entry point names."""
    path = files(REPORTED.target(PAPER)) / f"{PAPER}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    fields = ("experiment", "task", "metric", "model")
    values = {
        (*(entry[field] for field in fields), join_label(entry["method"], entry["variant"])): entry["value"]
        for entry in loaded["entries"]
    }
    return Reported(source=loaded["source"], values=values, trends=loaded["trends"])
