"""Baseline 1 (Section 4.1): the instruction-tuned model with the user's history in the prompt, nothing fitted."""

from pathlib import Path

from harness.api import FitContext, Method, Personalizer, Task
from harness.methods.base_prompt import Unedited
from harness.methods.nothing_to_set import NothingToSet


class Instruct(Method):
    """The model as it is: the base prompt with the selected history, the baseline of all tests.

    Its budget is never touched. It serves every user all that it has to give.
    """

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        return Unedited(context.task, serves_users=True)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return Unedited(task, serves_users=True)
