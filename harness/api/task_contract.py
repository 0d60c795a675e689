"""What a task promises: its data, its words, how answers are read and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from harness.api.user_data import HistoryItem, TaskData

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

InsightKind = Literal["personal", "neutral"]
SummaryStrategy = Literal["basic", "recommendation", "engagement", "profile"]


@dataclass(frozen=True)
class Metric:
    """A metric as a function of the mean of per-sample statistics, so that any resampling recomputes it whole.

    `statistics(prediction, gold)` gives S numbers per sample; `value` maps means [..., S] to [...]. Accuracy is the
    identity of one statistic, RMSE the square root of one, macro-F1 a function of 3 x labels mean counts.
    `can_score(gold)` is False for a gold with which every answer scores the same.
    """

    name: str
    higher_is_better: bool
    statistics: Callable[[str, str], Sequence[float]]
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    can_score: Callable[[str], bool] = lambda gold: True


class Prompts(Protocol):
    """All the words a task sends to a model.

    Every prompt begins with the texts and labels of `history`, in this order, and with no word of them where it is
    empty; every one ends in "Your answer:". `harness.testing.check_task` checks it.
    """

    @property
    def generic_insight(self) -> str:
        """Fills the neutral prompt where no insight was generated: paraphrases, rejected answers."""
        ...

    def base(self, query: str, history: Sequence[HistoryItem], note: str = "") -> str:
        """Asks the query. `note`, such as what LLM-REC writes about the user, stands after the question."""
        ...

    def personal(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        """`base`, and after the question the line of an assistant for this user, who prefers `insight`."""
        ...

    def neutral(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        """`base`, and after the question the line of an assistant for nobody, whose answers should `insight`."""
        ...

    def insight(self, kind: InsightKind, history: Sequence[HistoryItem]) -> str:
        """Asks for what fills `personal` or `neutral` as its `insight`: a part of a sentence."""
        ...

    def summary(self, strategy: SummaryStrategy, history: Sequence[HistoryItem]) -> str:
        """Asks for a note on the user: one of LLM-REC's three, or a profile."""
        ...


class Task(ABC):
    """One task. Stateless: the engine holds data and golds, so that a method may hold the task."""

    name: ClassVar[str]  # "lamp2"
    title: ClassVar[str]  # "LaMP-2: personalized movie tagging"
    version: ClassVar[str]  # raised whenever a score may change
    prompts: Prompts
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...] = ()  # the closed set of answers; empty for free text
    max_new_tokens: int

    @abstractmethod
    def load(self, source: str, split: str) -> TaskData:
        """Read `split` from a directory, or make it for "synthetic".

        Raises MissingError where `source` lacks the task, the split or its golds, HarnessError if nothing is usable.
        """

    def splits(self, source: str) -> tuple[str, ...] | None:
        """The splits of `source`, usable or not; None where only `load` can tell. Raises as `load` without the task."""
        return None

    @abstractmethod
    def supervise(self, item: HistoryItem) -> tuple[str | None, str] | None:
        """(query text or None, answer) that a history item supervises; None if it answers no question of the task."""

    @abstractmethod
    def parse(self, output: str) -> tuple[str, bool]:
        """(prediction, parsed): the first line, stripped; `parsed` is False where it is no valid answer."""
