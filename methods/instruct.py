"""Baseline 1 (Section 4.1): the instruction-tuned model with the user's history in the prompt, nothing fitted."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.api import FitContext, HistoryItem, Method, Personalizer, Query, Task


class InstructConfig(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BasePrompt(Personalizer):
    """Answers with the unedited model and the base prompt; also what a method falls back to when it fitted nothing."""

    def __init__(self, task: Task, serves_users: bool = False) -> None:
        self.task = task
        self.serves_users = serves_users

    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        return self.task.prompts.base(query.text, history)

    def serves(self, query: Query) -> bool:
        return self.serves_users

    def save(self, directory: Path) -> None:
        """Nothing to write."""


class Instruct(Method):
    """The model as it is: the base prompt with the selected history, the baseline of all tests.

    Its budget is never touched. It serves every user all that it has to give.
    """

    Config = InstructConfig

    def fit(self, context: FitContext) -> Personalizer:
        return BasePrompt(context.task, serves_users=True)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return BasePrompt(task, serves_users=True)
