"""The data of a task: users, their histories, questions, examples, and what is wrong with a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.api.foreign_text import printable


@dataclass(frozen=True)
class HistoryItem:
    """One thing a user did: `text` is the description, review or tweet, `label` the user's tag or score ("" if none).

    `rank` orders items by how representative they are (0 = most); a prompt that is too long loses the highest rank.
    `date`: ISO 8601, UTC, as precise as the data ("2016", "2016-08-15", "2016-08-15T10:30:00"), so that texts sort as
    times do; "" if unknown.
    """

    id: str
    text: str
    label: str = ""
    rank: int = 0
    date: str = field(default="", repr=False)  # fingerprints of data without dates are made from the repr


@dataclass(frozen=True)
class Query:
    """One question q_u of a user, without its gold answer."""

    id: str
    user: str
    text: str


@dataclass(frozen=True)
class Example:
    """One supervised triple. `history` was selected after the example itself was taken out of it, for its query where
    the run's selection looks at what is asked.

    `query` is None where the data has an answer but no input (a tweet in a LaMP-7 history); `FitContext.examples`
    fills it in with the base model's neutral paraphrase.
    """

    user: str
    query: str | None
    history: tuple[HistoryItem, ...]
    answer: str


@dataclass(frozen=True)
class User:
    """A user to fit on: the selected history H_u^k in its original order, and the examples to learn from.

    Nothing is asked here: where the run's selection depends on the query, `history` holds the most representative ones.
    """

    id: str
    history: tuple[HistoryItem, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record, and where it stands. The record was skipped unless it was `kept`."""

    file: str
    record: str
    field: str
    problem: str
    kept: bool = False

    def __str__(self) -> str:
        return printable(f"{self.file}: record {self.record}: field {self.field}: {self.problem}")


@dataclass
class TaskData:
    """What a task read from one source. Only the engine holds it: `golds` must not reach a method."""

    split: str
    histories: dict[str, tuple[HistoryItem, ...]]  # user id -> whole history, in file order
    queries: list[Query]
    golds: dict[str, str]  # query id -> gold answer
    faults: list[Fault] = field(default_factory=list)
    # What a reader of the results must know, e.g. that another split was used.
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""  # sha256 over the source
    separation: Literal["user", "time"] = "user"  # between splits; by time, the same users are in all of them
    names_users: bool = True  # whether user ids are people's, not those of questions that two splits may number alike
    items_found: int = 0  # history items in the source, usable or not
    items_skipped: int = 0  # those that could not be used

    @property
    def records_skipped(self) -> int:
        """Questions, golds, history items and entries of a users file that could not be used."""
        return sum(not fault.kept for fault in self.faults)
