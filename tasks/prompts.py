"""The prompts of the paper's three tasks: Appendix A.3 word for word, and ours where the paper gives none.

The paper prints the personal and the neutral prompt and the history format. It gives no insight prompt and no LLM-REC
prompt; those are ours and stand beside the others. Of LaMP's other tasks, `own_prompts.py` has the words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import HistoryItem, InsightKind, SummaryStrategy

MOVIE_TAGS = (
    "sci-fi",
    "based on a book",
    "comedy",
    "action",
    "twist ending",
    "dystopia",
    "dark comedy",
    "classic",
    "psychology",
    "fantasy",
    "romance",
    "thought-provoking",
    "social commentary",
    "violence",
    "true story",
)
_TAGS = ", ".join(MOVIE_TAGS)
_ANSWER = "Your answer:"
IMPERSONAL = (
    "You are a generic and impersonal assistant. "
    "You do not consider the user’s preferences or profile history when responding. "
    "Your answer should {insight}."
)
PREFERS = 'Complete the sentence "The user prefers ..." without further explanation.'


@dataclass(frozen=True)
class LampPrompts:
    """Prompts of one task, a `harness.api.Prompts`.

    `str.format` fills {text} and {label} of `history_item`, and {insight} of the agents' lines, where other braces are
    doubled; all other texts stand as they are. `history_intro` comes before the history, and goes where there is none.
    """

    history_intro: str
    history_item: str
    query_intro: str
    question: str
    personal_agent: str
    neutral_agent: str
    personal_insight: str
    neutral_insight: str
    generic_insight: str
    summaries: dict[SummaryStrategy, str]

    def history(self, items: Sequence[HistoryItem]) -> str:
        """The numbered history in A.3's "History format"; empty for no items."""
        return "\n".join(
            f"{number}. {self.history_item.format(text=item.text, label=item.label)}"
            for number, item in enumerate(items, start=1)
        )

    def base(self, query: str, history: Sequence[HistoryItem], note: str = "") -> str:
        """A.3 up to and including the question, then "Your answer:"; `note` (LLM-REC) stands between the two."""
        return self._join(self._profile(history), self._query(query), self.question, note, _ANSWER)

    def personal(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        """A.3, "Personalize prompt", up to "Your answer:"."""
        return self._agent(query, history, self.personal_agent, insight)

    def neutral(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        """A.3, "Non-personalize/Neutral prompt", up to "Your answer:"."""
        return self._agent(query, history, self.neutral_agent, insight)

    def insight(self, kind: InsightKind, history: Sequence[HistoryItem]) -> str:
        """Asks for what fills `[INSIGHT]` in the prompt of that kind (Section 3.1; the wording is ours)."""
        request = self.personal_insight if kind == "personal" else self.neutral_insight
        return self._join(self._profile(history), request, _ANSWER)

    def summary(self, strategy: SummaryStrategy, history: Sequence[HistoryItem]) -> str:
        """Asks for LLM-REC's augmentation text (Lyu et al. 2024) or a user's profile; the wording is ours."""
        return self._join(self._profile(history), self.summaries[strategy], _ANSWER)

    def _agent(self, query: str, history: Sequence[HistoryItem], agent: str, insight: str) -> str:
        line = agent.format(insight=insight)
        return self._join(self._profile(history), self._query(query), self.question, line, _ANSWER)

    def _profile(self, history: Sequence[HistoryItem]) -> str:
        return f"{self.history_intro} {self.history(history)}" if history else ""

    def _query(self, query: str) -> str:
        return f"{self.query_intro} {query}"

    @staticmethod
    def _join(*parts: str) -> str:
        return "\n\n".join(part for part in parts if part)


def neutral_request(doing: str) -> str:
    """Asks how somebody who knows nobody goes about `doing`, such as "tag a movie"."""
    return (
        f"How does a generic and impersonal assistant, which ignores this user, {doing}? "
        'Complete the sentence "Your answer should ..." without further explanation.'
    )


def summaries_of(items: str, goal: str) -> dict[SummaryStrategy, str]:
    """Requests about `items`, in the plural, for LLM-REC's notes and for a profile (after Richardson et al. 2023).

    The recommendation-driven one and the profile name the `goal`.
    """
    return {
        "basic": f"Summarize the {items} above in one sentence.",
        "recommendation": f"Summarize the {items} above in one sentence that helps to {goal} for this user.",
        "engagement": f"What do the {items} above, that this user engaged with, say about the user? "
        "Answer in one sentence.",
        "profile": f"Describe this user for an assistant who has to {goal}: what is most common in the {items} above, "
        "and what sets this user apart? Answer in two sentences.",
    }


LAMP_2 = LampPrompts(
    history_intro="Suppose you are a user with the following user profile history of movie tagging:",
    history_item='The tag for movie: "{text}" is "{label}".',
    query_intro="Now, given a new description:",
    question=(
        "Question: Which tag does this movie relate to among the following tags? "
        f"Just answer with only ONE tag name without further explanation. tags: [{_TAGS}]"
    ),
    personal_agent=(
        "You are a helpfully personalized assistant. You try to predict the movie tagging that the user preferred "
        f"based on their history. The user prefers {{insight}}. Answer only with one tag name ({_TAGS})."
    ),
    neutral_agent=f"{IMPERSONAL} Answer only with one tag name ({_TAGS}).",
    personal_insight=f"Which tags does this user prefer when several tags fit a movie? {PREFERS}",
    neutral_insight=neutral_request("tag a movie"),
    generic_insight="name the first theme of the movie",
    summaries=summaries_of("movies and tags", "choose a tag"),
)

LAMP_3 = LampPrompts(
    history_intro=(
        "Suppose you are a user with the following user profile history of product rating "
        "based on the user’s review of the product:"
    ),
    history_item='{label} is the rating score for product: "{text}".',
    query_intro="Now, given a new review by the user:",
    question=(
        "Question: What is the rating score of the following review on a scale of 1 to 5? "
        "Just answer with 1, 2, 3, 4, or 5 without further explanation."
    ),
    personal_agent=(
        "You are a helpfully personalized assistant. You try to predict the rating of the product "
        "based on the user history ratings. The user prefers {insight}. "
        "Just answer with 1, 2, 3, 4, or 5 without further explanation."
    ),
    neutral_agent=IMPERSONAL,
    personal_insight=f"How does this user score products, compared with what the words of the reviews say? {PREFERS}",
    neutral_insight=neutral_request("score a review"),
    generic_insight="score the words of the review alone",
    summaries=summaries_of("reviews and scores", "predict a score"),
)

LAMP_7 = LampPrompts(
    history_intro=(
        "Suppose you are a twitter user with the following user profile history "
        "that shows their preferred way of speaking:"
    ),
    history_item="{text}",
    query_intro="Now, given a new twitter post:",
    question=("Question: Paraphrase the tweet in the style the user likes without any explanation before or after it."),
    personal_agent=(
        "You are a helpfully personalized assistant. You try to paraphrase the tweet in the style the user likes "
        "based on the history. The user prefers {insight}."
    ),
    neutral_agent=IMPERSONAL,
    personal_insight=f"In which style does this user write? {PREFERS}",
    neutral_insight=neutral_request("paraphrase a tweet"),
    generic_insight="keep the plain wording of the tweet",
    summaries=summaries_of("tweets", "write a tweet"),
)
