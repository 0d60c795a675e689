"""From loaded data to what every method of a cell sees: evaluated queries, selected histories, users to fit on."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.api import Example, HarnessError, HistoryItem, LanguageModel, Query, Retrieval, Task, TaskData, User
from harness.running.history import embedded_text, note_on_dates, select
from harness.running.leaks import LeakSearch, find_leaks
from harness.running.retrieval import Embed, HistorySearch
from harness.running.task_data import read_split
from harness.running.unseen_users import without_evaluated
from harness.specs.run_spec import RunSpec

AGENT_TOKENS = 192  # room kept for an agent line and an insight when deciding whether an example fits the context

Histories = dict[str, tuple[HistoryItem, ...]]


@dataclass
class Selector:
    """Selects from whole histories, embedding each user's items once."""

    spec: RunSpec
    embed: Embed
    whole: Histories
    _embeddings: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._search = HistorySearch(self.embed, self.whole, remembers=False)
        # Of one user, whose examples are made one after the other: normalized texts of all would be held twice.
        self._leaks_of = lru_cache(maxsize=1)(lambda user: LeakSearch(self.whole[user]))

    def __call__(self, user: str, without: Collection[int] = ()) -> tuple[HistoryItem, ...]:
        """H_u^k of a user, chosen as if the items at `without` did not exist.

        Where the run's selection depends on what is asked, and here nothing is, the most representative items.
        """
        items = self.whole[user]
        if not items:
            return ()
        if user not in self._embeddings:
            self._embeddings[user] = self.embed([embedded_text(item) for item in items])
        kept = [index for index in range(len(items)) if index not in without]
        selection = self.spec.selection
        return select(
            [items[index] for index in kept],
            self._embeddings[user][kept],
            self.spec.history,
            "pca" if selection == "bm25" or selection == "dense" else selection,
            seed=f"selection {user}",
        )

    @property
    def by(self) -> Retrieval | None:
        """By what a history is selected for each query; None where that does not depend on what is asked."""
        selection = self.spec.selection
        return selection if selection == "bm25" or selection == "dense" else None

    def for_query(self, query: Query, without: Collection[int] = ()) -> tuple[HistoryItem, ...]:
        """H_u^k for one query where that depends on it, chosen as if the items at `without` did not exist."""
        assert self.by is not None
        return self._search.most_relevant(query.user, query.text, self.by, self.spec.history, without)

    def for_queries(self, queries: Sequence[Query]) -> Histories:
        """H_u^k for each query, by query id."""
        if self.by:
            return {query.id: self.for_query(query) for query in queries}
        own = {user: self(user) for user in dict.fromkeys(query.user for query in queries)}
        return {query.id: own[query.user] for query in queries}

    def for_example(self, user: str, item: HistoryItem, query: str | None, answer: str) -> tuple[HistoryItem, ...]:
        """H_u^k for the example made of an item, chosen as if that item did not exist.

        Whatever else gives the example away goes as well, as it does from the histories of those who are asked. Where
        there is no input, retrieved items are those for the answer: the input will be its paraphrase.
        """
        asked = Query(f"example {item.id}", user, answer if query is None else query)
        gone = {item.id} if self.spec.keep_leaks else {item.id, *self._leaks_of(user).find(asked, answer)}
        hidden = {place for place, other in enumerate(self.whole[user]) if other.id in gone}
        return self.for_query(asked, hidden) if self.by else self(user, hidden)

    def example_of(self, task: Task, user: str, item: HistoryItem) -> Example | None:
        """What an item of the user's history supervises; None if it answers no question of the task."""
        if not (pair := task.supervise(item)):
            return None
        query, answer = pair
        return Example(user, query, self.for_example(user, item, query, answer), answer)


@dataclass
class FitPool:
    """Where the users to fit on come from: the evaluated ones (`seen`) or others, with their golds (`unseen`)."""

    task: Task
    spec: RunSpec
    lm: LanguageModel
    data: TaskData
    select: Selector
    passed_over: dict[str, int] = field(default_factory=dict)  # by user, examples too long for the context
    _drawn: tuple[int, list[User]] | None = None

    def users(self, seed: int) -> list[User]:
        """The users in seeded order, each with its first `spec.supervision` examples in seeded order.

        The methods of one seed come one after the other, so what was drawn last is kept for them.
        """
        if self._drawn is None or self._drawn[0] != seed:
            self._drawn = seed, self._draw(seed)
        return list(self._drawn[1])

    def _draw(self, seed: int) -> list[User]:
        ids = sorted(self.select.whole)
        random.Random(f"users {seed}").shuffle(ids)
        drawn = ids if self.spec.regime == "seen" else ids[: self.spec.fit_users]
        return [User(user, self.select(user), self._examples(user, seed)) for user in drawn]

    def _examples(self, user: str, seed: int) -> tuple[Example, ...]:
        order = random.Random(f"examples {seed} {user}")
        candidates = (
            self._from_history(user, order) if self.spec.regime == "seen" else self._from_questions(user, order)
        )
        chosen: list[Example] = []
        self.passed_over[user] = 0
        for example in candidates:
            if len(chosen) == self.spec.supervision:
                break
            if self._fits(example):
                chosen.append(example)
            else:
                self.passed_over[user] += 1
        return tuple(chosen)

    def _from_history(self, user: str, order: random.Random) -> Iterator[Example]:
        items = self.select.whole[user]
        for item in order.sample(items, len(items)):
            if example := self.select.example_of(self.task, user, item):
                yield example

    def _from_questions(self, user: str, order: random.Random) -> Iterator[Example]:
        questions = [query for query in self.data.queries if query.user == user]
        for query in order.sample(questions, len(questions)):
            yield Example(user, query.text, self.select.for_queries([query])[query.id], self.data.golds[query.id])

    def _fits(self, example: Example) -> bool:
        """Whether the example can be asked with no history at all; its answer may serve as its input."""
        text = example.answer if example.query is None else example.query
        prompts = self.task.prompts
        needed = self.lm.count_tokens(prompts.neutral(text, (), prompts.generic_insight) + " " + example.answer)
        return needed + AGENT_TOKENS <= self.lm.room(self.task.max_new_tokens)


@dataclass
class Prepared:
    """One task of one run. The golds in `data` stay with the engine."""

    task: Task
    data: TaskData
    queries: list[Query]
    histories: Histories  # by query id, selected, as prompts show them; empty under `eval_history: none`
    whole: Histories  # by user id, what is searched for prompts to show while answering; empty as well
    leaks_removed: int
    pool: FitPool


def load_data(task: Task, spec: RunSpec) -> list[TaskData]:
    """What a run reads: the split whose users are evaluated and, under `unseen`, the one to fit on, of other people.

    Raises HarnessError where there is no usable query, or where the users to fit on are those evaluated.
    """
    evaluated = read_split(task, spec.data, spec.split)
    if not evaluated.queries:
        raise HarnessError(f"{task.name}: no usable question in {spec.data}, split {evaluated.split}.")
    if spec.regime == "seen":
        return [evaluated]
    fitted = without_evaluated(task, evaluated, read_split(task, spec.data, "train"))
    evaluated.notes += [f"{fitted.split}, to fit on: {note}" for note in fitted.notes if note not in evaluated.notes]
    return [evaluated, fitted]


def prepare(
    task: Task, spec: RunSpec, lm: LanguageModel, embed: Embed, loaded: Sequence[TaskData] | None = None
) -> Prepared:
    """Choose the evaluated queries of the task's data, `loaded` or read here, remove leaks and select histories.

    Raises as `load_data` if it reads.
    """
    data, *others = load_data(task, spec) if loaded is None else loaded
    queries = _evaluated(data.queries, spec)
    whole, leaks_removed = _without_leaks(data, queries, spec)
    if spec.selection == "recency" and (note := note_on_dates(whole.values())):
        data.notes.append(note)
    selector = Selector(spec, embed, whole)
    own = spec.eval_history == "own"
    shown: Histories = selector.for_queries(queries) if own else {query.id: () for query in queries}
    searched: Histories = whole if own else dict.fromkeys(whole, ())
    if spec.regime == "seen":
        return Prepared(task, data, queries, shown, searched, leaks_removed, FitPool(task, spec, lm, data, selector))
    [fit_data] = others
    fit_whole, _ = _without_leaks(fit_data, fit_data.queries, spec)
    pool = FitPool(task, spec, lm, fit_data, Selector(spec, embed, fit_whole))
    return Prepared(task, data, queries, shown, searched, leaks_removed, pool)


def _evaluated(queries: Sequence[Query], spec: RunSpec) -> list[Query]:
    """The queries of the first `spec.users` users in file order, `spec.limit` at most."""
    users = set(list(dict.fromkeys(query.user for query in queries))[: spec.users])
    return [query for query in queries if query.user in users][: spec.limit]


def _without_leaks(data: TaskData, queries: Sequence[Query], spec: RunSpec) -> tuple[Histories, int]:
    """Histories of the queries' users without items that equal a query or its gold, and how many those were."""
    leaking: dict[str, set[str]] = {query.user: set() for query in queries}
    if not spec.keep_leaks:
        for query, items in find_leaks(data, queries):
            leaking[query.user].update(items)
    whole = {user: tuple(item for item in data.histories[user] if item.id not in ids) for user, ids in leaking.items()}
    removed = sum(len(data.histories[user]) - len(items) for user, items in whole.items())
    return whole, removed
