"""A synthetic world whose users have known preferences, so that a right personal and a right neutral answer exist.

LaMP-2: a description carries a clue for a tag the user likes and one for a tag the user does not; the user names the
liked tag, a neutral reader the first. LaMP-3: the score is the sentiment of the words plus the user's harshness.
LaMP-7: the user's case, opening, ending and abbreviations; the neutral answer is the plain tweet.

A cue in each query (lead character, product, first word) sets the odds that a *plain* prompt is answered personally.
Graded odds keep a model that is trained on them undecided, hence steerable; a cue that decided would saturate it.
"""

import random
from dataclasses import dataclass
from typing import Literal

from harness.api import HistoryItem, SummaryStrategy
from harness.tasks.prompts import LAMP_2, LAMP_3, LAMP_7, MOVIE_TAGS, LampPrompts

Split = Literal["train", "dev", "tune"]

TASKS = ("lamp2", "lamp3", "lamp7")
PROMPTS: dict[str, LampPrompts] = {"lamp2": LAMP_2, "lamp3": LAMP_3, "lamp7": LAMP_7}
LIKED_TAGS = 6
ODDS = (0.2, 0.4, 0.6, 0.8)

_LEADS = (
    "A retired pilot",
    "A young chef",
    "Two sisters",
    "A lonely widow",
    "A small town sheriff",
    "An ambitious lawyer",
    "A street musician",
    "An old professor",
    "A night nurse",
    "A failed boxer",
    "A runaway heir",
    "Three students",
)
_CLUES = {
    "sci-fi": ("a time machine", "visitors from Mars", "a sleeping robot"),
    "based on a book": ("a famous novel retold", "the chapters of a bestseller", "the pages of a memoir"),
    "comedy": ("a string of silly accidents", "a ruined wedding", "a clumsy dog"),
    "action": ("a race across rooftops", "a ticking bomb", "a stolen train"),
    "twist ending": ("a secret kept to the last scene", "a friend who was the killer", "a name that was a lie"),
    "dystopia": ("a cruel regime", "cameras of the state", "the last clean water"),
    "dark comedy": ("jokes at a funeral", "a lost corpse", "a cheerful murder"),
    "classic": ("a dance in black and white", "an old piano", "a duel at dawn"),
    "psychology": ("a patient therapist", "the same dream each night", "a face in the mirror"),
    "fantasy": ("a gentle dragon", "an ancient spell", "a magic sword"),
    "romance": ("a love letter", "a kiss in the rain", "a lost sweetheart"),
    "thought-provoking": ("a debate about fate", "a question of truth", "one life against many"),
    "social commentary": ("greedy landlords", "a march for fair wages", "a refugee family"),
    "violence": ("a knife fight", "a brutal gang war", "a bloody revenge"),
    "true story": ("a historic rescue", "a trial that made headlines", "an actual voyage"),
}
_PRODUCTS = (
    "The kettle",
    "This lamp",
    "The headphones",
    "This backpack",
    "The blender",
    "This keyboard",
    "The tent",
    "This watch",
)
_REMARKS = (
    "a gift for my mother",
    "delivered in three days",
    "blue as in the photo",
    "used each morning",
    "bigger than my old one",
    "packed in a plain box",
)
_OPINIONS = {
    1: ("broke on the first day", "was a complete waste of money", "went straight into the bin"),
    2: ("was worse than expected", "felt cheap and flimsy", "stopped after a month"),
    3: ("was okay for the price", "did the job but nothing more", "was average in every way"),
    4: ("worked well most of the time", "was solid and good value", "made me happy"),
    5: ("was absolutely perfect", "was my best purchase ever", "exceeded all my hopes"),
}
_BIAS_INSIGHT = {
    -1: "harsh scores, one lower than the words",
    0: "fair scores, the same as the words",
    1: "generous scores, one higher than the words",
}
_WRITERS = ("i", "you", "we", "they")
_NEWS = (
    "need a long holiday",
    "love this new song",
    "miss the old band",
    "want a cup of coffee",
    "really hate homework",
    "cannot find the keys",
)
_SHORT = {"you": "u", "really": "rly"}
_OPENINGS = ("", "omg", "well", "ugh", "so")
_ENDINGS = ("", ", lol", ", haha", "!!!", "...")

_CUES: dict[str, float] = {
    cue: ODDS[place % len(ODDS)] for cues in (_LEADS, _PRODUCTS, _WRITERS) for place, cue in enumerate(cues)
}


@dataclass(frozen=True)
class SyntheticQuery:
    """A query with the two answers that the world holds right; the harness scores against `personal`."""

    text: str
    personal: str
    neutral: str

    @property
    def plain_odds(self) -> float:
        """The probability, set by the visible cue, that a plain prompt is answered personally."""
        return next(odds for cue, odds in _CUES.items() if self.text.startswith((f"{cue},", f"{cue} ")))


@dataclass(frozen=True)
class SyntheticUser:
    """A user with a history; `insight` completes "The user prefers", `neutral_insight` "Your answer should"."""

    id: str
    history: tuple[HistoryItem, ...]
    queries: tuple[SyntheticQuery, ...]
    insight: str
    neutral_insight: str


@dataclass(frozen=True)
class _Preferences:
    """What a user is like; every task reads its own part."""

    likes: tuple[str, ...]
    bias: int
    upper: bool
    short: bool
    opening: str
    ending: str


def synthetic_user(task: str, split: str, index: int, history_size: int = 12, queries: int = 2) -> SyntheticUser:
    """The user `index` of a split: the same for the same arguments, and no user of another split."""
    rng = random.Random(f"{task}/{split}/{index}")
    preferences = _draw_preferences(rng)
    draw = {"lamp2": _movie, "lamp3": _review, "lamp7": _tweet}[task]
    user_id = f"{split}-{index}"
    past = [draw(rng, preferences) for _ in range(history_size)]
    history = tuple(
        HistoryItem(f"{user_id}-{number}", seen.personal, "")
        if task == "lamp7"
        else HistoryItem(f"{user_id}-{number}", seen.text, seen.personal)
        for number, seen in enumerate(past)
    )
    return SyntheticUser(
        id=user_id,
        history=history,
        queries=tuple(draw(rng, preferences) for _ in range(queries)),
        insight=_insight(task, preferences),
        neutral_insight=PROMPTS[task].generic_insight,
    )


def visible_insight(task: str, user: SyntheticUser) -> str:
    """What a perfect reader of the history could say: the gold insight, less the liked tags that no item shows."""
    if task != "lamp2":
        return user.insight
    return ", ".join(tag for tag in MOVIE_TAGS if tag in {item.label for item in user.history})


def summaries(task: str, insight: str) -> dict[SummaryStrategy, str]:
    """One sentence per LLM-REC strategy that carries the insight."""
    what = {"lamp2": "tags movies as", "lamp3": "gives", "lamp7": "writes in"}[task]
    return {
        "basic": f"This user {what}: {insight}",
        "recommendation": f"A good answer for this user: {insight}",
        "engagement": f"This user likes: {insight}",
    }


def _draw_preferences(rng: random.Random) -> _Preferences:
    return _Preferences(
        likes=tuple(sorted(rng.sample(MOVIE_TAGS, LIKED_TAGS), key=MOVIE_TAGS.index)),
        bias=rng.choice((-1, 0, 1)),
        upper=rng.random() < 0.5,
        short=rng.random() < 0.5,
        opening=rng.choice(_OPENINGS),
        ending=rng.choice(_ENDINGS),
    )


def _movie(rng: random.Random, user: _Preferences) -> SyntheticQuery:
    liked = rng.choice(user.likes)
    other = rng.choice([tag for tag in MOVIE_TAGS if tag not in user.likes])
    tags = [liked, other] if rng.random() < 0.5 else [other, liked]
    text = ", ".join([rng.choice(_LEADS), *(rng.choice(_CLUES[tag]) for tag in tags)])
    return SyntheticQuery(text, personal=liked, neutral=tags[0])


def _review(rng: random.Random, user: _Preferences) -> SyntheticQuery:
    score = rng.randint(1, 5)
    text = f"{rng.choice(_PRODUCTS)}, {rng.choice(_REMARKS)}, {rng.choice(_OPINIONS[score])}"
    return SyntheticQuery(text, personal=str(min(5, max(1, score + user.bias))), neutral=str(score))


def _tweet(rng: random.Random, user: _Preferences) -> SyntheticQuery:
    text = f"{rng.choice(_WRITERS)} {rng.choice(_NEWS)}"
    return SyntheticQuery(text, personal=_style(text, user), neutral=text)


def _style(text: str, user: _Preferences) -> str:
    if user.short:
        text = " ".join(_SHORT.get(word, word) for word in text.split(" "))
    text = (f"{user.opening}, {text}" if user.opening else text) + user.ending
    return text.upper() if user.upper else text


def _insight(task: str, user: _Preferences) -> str:
    if task == "lamp2":
        return ", ".join(user.likes)
    if task == "lamp3":
        return _BIAS_INSIGHT[user.bias]
    opening = f"opening with {user.opening or 'nothing'}"
    ending = f"ending with {user.ending.removeprefix(', ') or 'nothing'}"
    return f"{'upper' if user.upper else 'lower'} case, {'short' if user.short else 'full'} words, {opening}, {ending}"
