"""The prompts of LaMP-1, 4, 5 and 6, which the paper does not use: ours throughout, in the manner of its Appendix A.3.

What a history item shows is what LaMP's own prompts show of it (Salemi et al. 2024, Appendix): the titles alone of an
author's papers in LaMP-1, text and title in LaMP-4, 5 and 6.
"""

from harness.tasks.prompts import IMPERSONAL, PREFERS, LampPrompts, neutral_request, summaries_of

_CHOICE = "Just answer with [1] or [2] without explanation."

LAMP_1 = LampPrompts(
    history_intro="Suppose you are an author with the following user profile history of papers you have written:",
    history_item='"{text}"',
    query_intro="Now, given a new paper by the user and two references:",
    question=f"Question: Which reference is related to the paper? {_CHOICE}",
    personal_agent=(
        "You are a helpfully personalized assistant. You try to predict the reference that the user cites in the paper "
        f"based on their history. The user prefers {{insight}}. {_CHOICE}"
    ),
    neutral_agent=f"{IMPERSONAL} {_CHOICE}",
    personal_insight=f"On which subjects does this user cite other papers? {PREFERS}",
    neutral_insight=neutral_request("choose a reference for a paper"),
    generic_insight="name the reference that is nearest to the title of the paper",
    summaries=summaries_of("papers", "choose a reference"),
)


def _titles(author: str, text: str, title: str) -> LampPrompts:
    """Prompts for putting a `title` over a `text`, as `author` would."""
    return LampPrompts(
        history_intro=f"Suppose you are {author} with the following user profile history of {title}s:",
        history_item=f'"{{label}}" is the {title} for {text}: "{{text}}".',
        query_intro=f"Now, given a new {text} by the user:",
        question=(
            f"Question: Write the {title} for the {text} in the style the user likes "
            "without any explanation before or after it."
        ),
        personal_agent=(
            f"You are a helpfully personalized assistant. You try to write the {title} in the style the user likes "
            "based on the history. The user prefers {insight}."
        ),
        neutral_agent=IMPERSONAL,
        personal_insight=f"Which style of {title} does this user prefer? {PREFERS}",
        neutral_insight=neutral_request(f"write a {title}"),
        generic_insight=f"say plainly what the {text} is about",
        summaries=summaries_of(f"{text}s and {title}s", f"write a {title}"),
    )


LAMP_4 = _titles("a news author", "article", "headline")
LAMP_5 = _titles("a researcher", "abstract", "title")
LAMP_6 = _titles("an e-mail user", "e-mail", "subject")
