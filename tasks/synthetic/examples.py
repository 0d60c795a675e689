"""What the embedded model learns: prompts of the train users with the answers that the world holds right."""

import math
import random
from dataclasses import dataclass
from typing import Literal, cast

from harness.api import SummaryStrategy
from harness.tasks.prompts import MOVIE_TAGS
from harness.tasks.synthetic.world import (
    PROMPTS,
    TASKS,
    SyntheticQuery,
    SyntheticUser,
    summaries,
    synthetic_user,
    visible_insight,
)

TASK_SHARES = (0.45, 0.2, 0.35)
STRATEGIES: tuple[SummaryStrategy, ...] = ("basic", "recommendation", "engagement")
GENERIC_INSIGHT = ("what the history shows", "their own taste")
GENERIC_NEUTRAL = ("ignore the history", "be the same for everyone")
NOTE_LIFT = 0.8
PUSHED_SHARE = 0.45
PUSHED_ODDS = 0.95


@dataclass(frozen=True)
class Example:
    """A prompt and the answer to learn."""

    kind: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class Lesson:
    """The examples of one user; `push` is the strength of the projection edit under which the answers hold, or 0."""

    task: str
    push: float
    examples: list[Example]


def sample_lesson(rng: random.Random, index: int, longest: int, pushed: float = PUSHED_SHARE) -> Lesson:
    """The examples of train user `index`, whose history holds up to `longest` items; `pushed` is the share of edits."""
    task = rng.choices(TASKS, TASK_SHARES)[0]
    push = rng.choice((-1.0, 1.0)) if rng.random() < pushed else 0.0
    size = rng.randint(1, longest) if push or rng.random() < 0.93 else 0
    user = synthetic_user(task, "train", index, history_size=size)
    return Lesson(task, push, _pushed(rng, task, user, push) if push else _ordinary(rng, task, user))


def _ordinary(rng: random.Random, task: str, user: SyntheticUser) -> list[Example]:
    first, second = user.queries
    examples = [
        _personal(rng, task, user, first),
        _neutral(rng, task, user, first),
        _plain(rng, task, user, first),
        _plain(rng, task, user, second),
        rng.choice((_personal, _neutral))(rng, task, user, second),
        _noted(rng, task, user, second),
    ]
    if user.history:
        examples.append(_statement(rng, task, user))
    return examples


def _pushed(rng: random.Random, task: str, user: SyntheticUser, push: float) -> list[Example]:
    """Plain prompts whose answer follows the edit: personal where it takes the neutral direction out."""
    odds = PUSHED_ODDS if push < 0 else 1 - PUSHED_ODDS
    plain = [_plain(rng, task, user, query, odds) for query in user.queries]
    return [*plain, _noted(rng, task, user, user.queries[1], odds)]


def _personal(rng: random.Random, task: str, user: SyntheticUser, query: SyntheticQuery) -> Example:
    generic = user.history and rng.random() < 0.5
    insight = rng.choice(GENERIC_INSIGHT) if generic else _spoken_insight(rng, task, user)
    text = _input(rng, task, query)
    return Example("personal", PROMPTS[task].personal(text, user.history, insight), query.personal)


def _neutral(rng: random.Random, task: str, user: SyntheticUser, query: SyntheticQuery) -> Example:
    insight = rng.choice(GENERIC_NEUTRAL) if rng.random() < 0.4 else user.neutral_insight
    return Example("neutral", PROMPTS[task].neutral(_input(rng, task, query), user.history, insight), query.neutral)


def _plain(
    rng: random.Random, task: str, user: SyntheticUser, query: SyntheticQuery, odds: float | None = None
) -> Example:
    personal = bool(user.history) and rng.random() < (query.plain_odds if odds is None else odds)
    prompt = PROMPTS[task].base(query.text, user.history)
    return Example("plain", prompt, query.personal if personal else query.neutral)


def _noted(
    rng: random.Random, task: str, user: SyntheticUser, query: SyntheticQuery, odds: float | None = None
) -> Example:
    note = summaries(task, _spoken_insight(rng, task, user))[rng.choice(STRATEGIES)]
    lifted = query.plain_odds / (1 - query.plain_odds) * math.exp(NOTE_LIFT)
    personal = rng.random() < (lifted / (1 + lifted) if odds is None else odds)
    prompt = PROMPTS[task].base(query.text, user.history, note)
    return Example("noted", prompt, query.personal if personal else query.neutral)


def _statement(rng: random.Random, task: str, user: SyntheticUser) -> Example:
    """A request for an insight or a summary."""
    prompts, kind = PROMPTS[task], rng.choices(("personal", "neutral", "summary"), (0.55, 0.15, 0.3))[0]
    if kind == "summary":
        strategy = rng.choice(STRATEGIES)
        said = summaries(task, visible_insight(task, user))[strategy]
        return Example("statement", prompts.summary(strategy, user.history), said)
    said = visible_insight(task, user) if kind == "personal" else user.neutral_insight
    return Example("statement", prompts.insight(cast(Literal["personal", "neutral"], kind), user.history), said)


def _spoken_insight(rng: random.Random, task: str, user: SyntheticUser) -> str:
    """The gold insight, or one with the mistakes of a model, so that the history keeps counting."""
    if not user.history or rng.random() < 0.4:
        return user.insight
    if task != "lamp2":
        stranger = synthetic_user(task, "train", rng.randrange(1 << 30), 0, 0)
        return stranger.insight if rng.random() < 0.15 else user.insight
    shown = [tag for tag in visible_insight(task, user).split(", ") if rng.random() < 0.9]
    shown += [rng.choice(MOVIE_TAGS)] if rng.random() < 0.2 or not shown else []
    return ", ".join(sorted(set(shown), key=MOVIE_TAGS.index))


def _input(rng: random.Random, task: str, query: SyntheticQuery) -> str:
    """A tweet comes styled at times: methods ask for a neutral paraphrase of the user's own tweets."""
    return query.personal if task == "lamp7" and rng.random() < 0.25 else query.text
