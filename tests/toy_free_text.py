"""The toy task without labels."""

from __future__ import annotations

from harness.api import HistoryItem
from harness.conformance.toys import ToyTask


class ToyFreeText(ToyTask):
    """Free text whose history, like LaMP-7's, holds answers without inputs."""

    name = "toy-free-text"
    labels = ()

    def supervise(self, item: HistoryItem) -> tuple[str | None, str]:
        return None, item.text
