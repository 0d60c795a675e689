"""Answers without a model: what is most frequent, for everybody or in the user's own history."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.api import FitContext, Method, Personalizer, Query, Task
from harness.methods.base_prompt import BasePrompt
from harness.methods.nothing_to_set import NothingToSet

_FILE = "answers.json"


@dataclass
class FixedAnswers(BasePrompt):
    """Answers without a model: the user's own answer, else `default`, else an echo of the query."""

    task: Task
    own: dict[str, str]
    default: str | None

    def answers(self, queries: Sequence[Query]) -> list[str]:
        return [self.own.get(query.user, query.text if self.default is None else self.default) for query in queries]

    def knows(self, query: Query) -> bool:
        return self.default is None or not self.own or query.user in self.own

    def save(self, directory: Path) -> None:
        text = json.dumps({"own": self.own, "default": self.default}, ensure_ascii=False, indent=1)
        (directory / _FILE).write_text(text, encoding="utf-8")


class Constant(Method):
    """The most frequent answer in all histories for everybody; an echo of the query where answers are free text."""

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        answers = _pooled(context, _answers(context))
        context.report.samples_used = len(answers)
        return FixedAnswers(context.task, {}, _majority(context.task, answers))

    def load(self, directory: Path, task: Task) -> Personalizer:
        return FixedAnswers(task, **json.loads((directory / _FILE).read_text(encoding="utf-8")))


class UserMajority(Constant):
    """The most frequent answer in each user's history; for users without one, and for free text, as `constant`."""

    def fit(self, context: FitContext) -> Personalizer:
        answers = _answers(context)
        own = {user: label for user, given in answers.items() if (label := _majority(context.task, given))}
        context.report.users_fitted = len(own)
        context.report.samples_used = sum(len(answers[user]) for user in own)
        return FixedAnswers(context.task, own, _majority(context.task, _pooled(context, answers)))


def _answers(context: FitContext) -> dict[str, list[str]]:
    """The answers in the whole history of each user to fit on, of users who have any."""
    found = {}
    for user in context.users:
        size = context.search.index(user.id, "recency")
        items = context.search.search(Query("", user.id, ""), "recency", size)
        if given := [pair[1] for item in items if (pair := context.task.supervise(item))]:
            found[user.id] = given
    return found


def _pooled(context: FitContext, histories: dict[str, list[str]]) -> list[str]:
    """All answers of the histories or, where these hold none, of the examples."""
    pooled = [answer for given in histories.values() for answer in given]
    return pooled or [example.answer for user in context.users for example in user.examples]


def _majority(task: Task, answers: Sequence[str]) -> str | None:
    """The most frequent answer, the earliest on ties; None for free text."""
    if not task.labels:
        return None
    return Counter(answers or task.labels).most_common(1)[0][0]
