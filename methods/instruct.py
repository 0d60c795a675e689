"""Baseline 1 (Section 4.1): the instruction-tuned model with the user's history in the prompt, nothing fitted."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.api import FitContext, Method, Personalizer, Task
from harness.methods.base_prompt import Unedited


class InstructConfig(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Instruct(Method):
    """The model as it is: the base prompt with the selected history, the baseline of all tests.

    Its budget is never touched. It serves every user all that it has to give.
    """

    Config = InstructConfig

    def fit(self, context: FitContext) -> Personalizer:
        return Unedited(context.task, serves_users=True)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return Unedited(task, serves_users=True)
