"""What a method promises: to learn from users within a budget, and to answer their questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.api.fit_context import FitContext, HistorySearch
from harness.api.language_model import Adapters, Edits, LanguageModel
from harness.api.task_contract import Task
from harness.api.user_data import HistoryItem, Query

if TYPE_CHECKING:
    from pydantic import BaseModel


class Personalizer(ABC):
    """What `fit` returns: how each query is answered. The defaults answer with the unedited base model."""

    @abstractmethod
    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        """The prompt for one query; `history` may be shorter than what `retrieve` gave if the context is small."""

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        """The history that the prompt shows: by default `history`, what the run's selection chose for the query."""
        return history

    def bare_prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        """`prompt` without what the method puts into it, such as a note; asked where the whole does not fit.

        What the method adds goes before any history does. By default there is no such part.
        """
        return self.prompt(query, history)

    def edits(self, queries: Sequence[Query]) -> Edits | Adapters | None:
        """Edits, or adapters, whose `rows` follow `queries`; None for neither."""
        return None

    def answers(self, queries: Sequence[Query]) -> list[str] | None:
        """Answers that need no language model (controls); None to generate."""
        return None

    def serves(self, query: Query) -> bool:
        """Whether the query's user gets anything beyond the base prompt."""
        return True

    def knows(self, query: Query) -> bool:
        """Whether the query's user gets all that anybody gets, as by default whoever is served does.

        Asked of a user who never was there, it tells whether one more user takes another fit.
        """
        return self.serves(query)

    def patched_model(self, lm: LanguageModel) -> AbstractContextManager[object]:
        """Changes `lm.model` for the duration, e.g. inserts an adapter, and leaves it as it was."""
        return nullcontext()

    def save_adapter(self, lm: LanguageModel, directory: Path) -> bool:
        """Write what `patched_model` puts into `lm.model` as PEFT's save_pretrained does; False if it puts nothing in.

        Raises HarnessError where what it puts in is no adapter. `lm` stays as it is.
        """
        return False

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write JSON and safetensors into an existing folder: all of the fit that answers depend on.

        Fits that write the same bytes are answered once.
        """


class Method(ABC):
    """One personalization method, in the habit of scikit-learn: the constructor only stores its configuration."""

    Config: ClassVar[type[BaseModel]]
    control_of: ClassVar[str] = ""  # of a control, the method whose place it takes, if it is one's in particular

    def __init__(self, config: Any) -> None:
        self.config = config

    def check_supervision(self, supervision: int) -> None:
        """Raise HarnessError where, with so many examples per user, no fit could serve anybody.

        Called before anything is loaded. Most methods have nothing to object to.
        """
        return

    def check_model(self, lm: LanguageModel, memory: int) -> list[str]:
        """Warnings, before any cell, about fitting to `lm` as it was loaded on a device with `memory` bytes.

        Raises HarnessError where the method cannot work with this model.
        """
        return []

    @abstractmethod
    def fit(self, context: FitContext) -> Personalizer:
        """Learn from `context.users` within `context.clock`."""

    @abstractmethod
    def load(self, directory: Path, task: Task) -> Personalizer:
        """Read what `Personalizer.save` wrote."""
