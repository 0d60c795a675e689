"""The base prompt, which shows the history as the run selects it; and the unedited model, asked with it."""

from collections.abc import Sequence
from pathlib import Path

from harness.api import HistoryItem, Personalizer, Query, Task


class BasePrompt(Personalizer):
    """Asks with the base prompt: what a method learned is elsewhere than in its words."""

    task: Task

    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        return self.task.prompts.base(query.text, history)


class Unedited(BasePrompt):
    """Answers with the unedited model; also what a method falls back to when it fitted nothing."""

    def __init__(self, task: Task, serves_users: bool = False) -> None:
        self.task = task
        self.serves_users = serves_users

    def serves(self, query: Query) -> bool:
        return self.serves_users

    def save(self, directory: Path) -> None:
        """Nothing to write."""
