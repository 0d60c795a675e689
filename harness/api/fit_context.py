"""All that a fit has: a model, a task, users, their histories to search, a clock, and a report to fill in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from harness.api.language_model import LanguageModel
from harness.api.task_contract import Task
from harness.api.user_data import Example, HistoryItem, Query, User

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.api.method_contract import Personalizer

Regime = Literal["seen", "unseen"]
Status = Literal["complete", "budget_exhausted", "overran", "failed", "interrupted"]  # how fit and answers ended
Retrieval = Literal["bm25", "dense", "recency"]
Reserve = float | Callable[[int], float]  # seconds kept for later stages: always, or after so many items more
T = TypeVar("T")


class Clock(Protocol):
    """The budget of one fit. A method stops before a predicted overrun; `exhausted`: the clock cut work short."""

    budget: float  # seconds
    exhausted: bool
    reason: str  # why, as far as the clock cut work short

    def elapsed(self) -> float:
        """Seconds since the fit began."""
        ...

    def remaining(self) -> float:
        """Seconds left, 0 at least."""
        ...

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Book the time spent inside to `name`; phases may nest, inner time is booked to the inner phase only."""
        ...

    def steps(self, items: Sequence[T], reserve: Reserve = 0.0) -> Iterator[T]:
        """Yield items while the predicted next step, plus `reserve` for later stages, still fits."""
        ...

    def batches(
        self, items: Sequence[T], most: int, work: Callable[[T], float], reserve: Reserve = 0.0
    ) -> Iterator[list[T]]:
        """Yield items in order, one first, then up to twice as many each time, `most` at most, as the clock has room.

        `work(item)`, such as the tokens of its prompt, is what a prediction goes by. The last step may be cut: what is
        done with a batch belongs inside `cut_off`, its model calls get `time_left`.
        """
        ...

    def time_left(self) -> float:
        """Seconds left before what `steps` and `batches` keep for later stages, 0 at least: the deadline of a step."""
        ...

    def cut_off(self) -> AbstractContextManager[None]:
        """Ends where OutOfTime is raised inside: the step is given up, `exhausted` and `reason` are set."""
        ...


@dataclass(frozen=True)
class Diagnosis:
    """Evidence on what a fit rests on: a row of the table `title`, whose columns `values` names.

    Values are finite numbers or short texts. `explanation` says how to read them. `caution` is what a reader must know
    beside the scores, a clause that follows the names of method and task; empty if nothing.
    """

    title: str
    values: dict[str, float | str]
    explanation: str = ""
    caution: str = ""


@dataclass
class FitReport:
    """What a fit has to account for. `counts` holds method-specific counters, e.g. identical outputs dropped.

    `diagnose` is called once, when the clock has stopped and the personalizer is saved: evidence is no part of a
    method, so it must neither cost its budget nor be able to change an answer. It leaves the model alone.
    """

    users_fitted: int = 0
    samples_used: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    diagnose: Callable[[], Diagnosis] | None = None

    def count(self, name: str, more: float = 1) -> None:
        """Add to a counter, which begins at 0."""
        self.counts[name] = self.counts.get(name, 0) + more


class HistorySearch(Protocol):
    """The users' whole histories, less what gives an evaluated query away, to be searched for what is asked.

    "bm25" ranks by the words in common, "dense" by the cosine of sentence embeddings, "recency" by date. A fit searches
    the histories of its users; whoever answers, those of the evaluated users, none where prompts may show no history.
    """

    def index(self, user: str, by: Retrieval, time_left: Callable[[], float] | None = None) -> int:
        """Prepare searches of one user's history, which later searches use; returns how many items it has.

        Raises OutOfTime once `time_left()`, asked while a history is embedded, is 0. By "recency" nothing is prepared.
        """
        ...

    def search(self, query: Query, by: Retrieval, k: int) -> tuple[HistoryItem, ...]:
        """The k items of the query's user most relevant to it, in their original order, each with its rank.

        What is not indexed yet is indexed first.
        """
        ...


class FitContext(Protocol):
    """All that a method may use while it fits."""

    lm: LanguageModel  # pristine; the method may change it, nobody else will use it
    task: Task
    users: Sequence[User]  # users to fit on, in seeded order; `examples` are theirs
    regime: Regime
    clock: Clock
    seed: int
    report: FitReport
    scratch: Path  # an empty folder that is deleted after the fit
    search: HistorySearch  # of `users`; indexing is work, and belongs inside `clock.phase`

    @property
    def shows_history(self) -> bool:
        """Whether the prompts of evaluated queries may show any history: else searches find none while answering."""
        ...

    @property
    def selects_by(self) -> Retrieval | None:
        """By what the run selects a history for each query; None where the selection does not look at what is asked."""
        ...

    def examples(self, batch_size: int, reserve: Reserve = 0.0) -> Iterator[list[Example]]:
        """Batches of complete examples (query filled in), in seeded order, as long as the clock has room.

        The first is of one example; they grow up to `batch_size` as in `Clock.batches`.
        """
        ...

    def complete(self, examples: Sequence[Example]) -> list[Example]:
        """Examples of the users' histories with their queries filled in; left out (counted) where none could be made.

        Belongs in a step of the clock: raises OutOfTime once `clock.time_left()` is 0.
        """
        ...

    def example_of(self, user: str, item: HistoryItem) -> Example | None:
        """What one item of the user's history supervises; as `User.examples`, of which there may be fewer than items.

        Its history is what the run selects without the item, and without whatever else gives its answer away. None
        where the item answers no question of the task. Selecting is work, and belongs inside `clock.phase`.
        """
        ...

    def history_for(self, user: User, asked: str) -> tuple[HistoryItem, ...]:
        """What the run selects of the user's history for a question of these words.

        That is `user.history` unless the selection depends on what is asked; then it is work, for `clock.phase`.
        """
        ...

    def shorten(
        self,
        build: Callable[[Sequence[HistoryItem]], str],
        history: Sequence[HistoryItem],
        max_new_tokens: int,
        limit: int | None = None,
    ) -> str | None:
        """`build(history)`, without as many of the least representative items as the context requires (counted).

        None where it is too long even without history: leave the example out and count it. `limit` is the most tokens
        the prompt may have, where that is less than the context has room for.
        """
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence embeddings [N, e]."""
        ...

    def checkpoint(self, samples: int, make: Callable[[], Personalizer]) -> None:
        """Called wherever the fit could answer, after `samples` examples: at a mark of the run, keep what `make` gives.

        Costs nothing away from a mark; at one the clock stands still. `make` must leave the fit as it is.
        """
        ...
