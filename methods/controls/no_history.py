"""The model as it is, asked without a history: LaMP's prompt that is not personalized."""

from pathlib import Path

from harness.api import FitContext, HistoryItem, HistorySearch, Method, Personalizer, Query, Task
from harness.methods.base_prompt import Unedited
from harness.methods.nothing_to_set import NothingToSet


class WithoutHistory(Unedited):
    """The base prompt of a user who has done nothing yet."""

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        return ()


class NoHistory(Method):
    """The model as it is, shown no history: what the plain prompt gains by showing one."""

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        return self.load(context.scratch, context.task)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return WithoutHistory(task, serves_users=True)
