"""The prompts against Appendix A.3, pasted from the paper (paragraph breaks that a page break put in are closed)."""

import pytest

from harness.api import HistoryItem
from harness.tasks.own_prompts import LAMP_1, LAMP_4, LAMP_5, LAMP_6
from harness.tasks.prompts import LAMP_2, LAMP_3, LAMP_7, LampPrompts

PERSONAL = {
    "lamp2": """Suppose you are a user with the following user profile history of movie tagging: [HISTORY]

Now, given a new description: [QUERY]

Question: Which tag does this movie relate to among the following tags? Just answer with only ONE tag name without \
further explanation. tags: [sci-fi, based on a book, comedy, action, twist ending, dystopia, dark comedy, classic, \
psychology, fantasy, romance, thought-provoking, social commentary, violence, true story]

You are a helpfully personalized assistant. You try to predict the movie tagging that the user preferred based on \
their history. The user prefers [INSIGHT]. Answer only with one tag name (sci-fi, based on a book, comedy, action, \
twist ending, dystopia, dark comedy, classic, psychology, fantasy, romance, thought-provoking, social commentary, \
violence, true story).

Your answer: [OUTPUT]""",
    "lamp3": """Suppose you are a user with the following user profile history of product rating based on the user’s \
review of the product: [HISTORY]

Now, given a new review by the user: [QUERY]

Question: What is the rating score of the following review on a scale of 1 to 5? Just answer with 1, 2, 3, 4, or 5 \
without further explanation.

You are a helpfully personalized assistant. You try to predict the rating of the product based on the user history \
ratings. The user prefers [INSIGHT]. Just answer with 1, 2, 3, 4, or 5 without further explanation.

Your answer: [OUTPUT]""",
    "lamp7": """Suppose you are a twitter user with the following user profile history that shows their preferred way \
of speaking: [HISTORY]

Now, given a new twitter post: [QUERY]

Question: Paraphrase the tweet in the style the user likes without any explanation before or after it.

You are a helpfully personalized assistant. You try to paraphrase the tweet in the style the user likes based on the \
history. The user prefers [INSIGHT].

Your answer: [OUTPUT]""",
}
NEUTRAL = {
    "lamp2": """Suppose you are a user with the following user profile history of movie tagging: [HISTORY]

Now, given a new description: [QUERY]

Question: Which tag does this movie relate to among the following tags? Just answer with only ONE tag name without \
further explanation. tags: [sci-fi, based on a book, comedy, action, twist ending, dystopia, dark comedy, classic, \
psychology, fantasy, romance, thought-provoking, social commentary, violence, true story]

You are a generic and impersonal assistant. You do not consider the user’s preferences or profile history when \
responding. Your answer should [INSIGHT]. Answer only with one tag name (sci-fi, based on a book, comedy, action, \
twist ending, dystopia, dark comedy, classic, psychology, fantasy, romance, thought-provoking, social commentary, \
violence, true story).

Your answer: [OUTPUT]""",
    "lamp3": """Suppose you are a user with the following user profile history of product rating based on the user’s \
review of the product: [HISTORY]

Now, given a new review by the user: [QUERY]

Question: What is the rating score of the following review on a scale of 1 to 5? Just answer with 1, 2, 3, 4, or 5 \
without further explanation.

You are a generic and impersonal assistant. You do not consider the user’s preferences or profile history when \
responding. Your answer should [INSIGHT].

Your answer: [OUTPUT]""",
    "lamp7": """Suppose you are a twitter user with the following user profile history that shows their preferred way \
of speaking: [HISTORY]

Now, given a new twitter post: [QUERY]

Question: Paraphrase the tweet in the style the user likes without any explanation before or after it.

You are a generic and impersonal assistant. You do not consider the user’s preferences or profile history when \
responding. Your answer should [INSIGHT].

Your answer: [OUTPUT]""",
}
HISTORY = {
    "lamp2": '1. The tag for movie: "[TEXT 1]" is "[LABEL 1]".\n2. The tag for movie: "[TEXT 2]" is "[LABEL 2]".',
    "lamp3": '1. [LABEL 1] is the rating score for product: "[TEXT 1]".\n'
    '2. [LABEL 2] is the rating score for product: "[TEXT 2]".',
    "lamp7": "1. [TEXT 1]\n2. [TEXT 2]",
}
PROMPTS: dict[str, LampPrompts] = {"lamp2": LAMP_2, "lamp3": LAMP_3, "lamp7": LAMP_7}
ITEMS = (HistoryItem("1", "[TEXT 1]", "[LABEL 1]"), HistoryItem("2", "[TEXT 2]", "[LABEL 2]"))


def paper(templates: dict[str, str], task: str) -> str:
    return templates[task].replace("[HISTORY]", HISTORY[task]).removesuffix(" [OUTPUT]")


@pytest.mark.parametrize("task", PROMPTS)
def test_personal_is_the_papers(task: str) -> None:
    assert PROMPTS[task].personal("[QUERY]", ITEMS, "[INSIGHT]") == paper(PERSONAL, task)


@pytest.mark.parametrize("task", PROMPTS)
def test_neutral_is_the_papers(task: str) -> None:
    assert PROMPTS[task].neutral("[QUERY]", ITEMS, "[INSIGHT]") == paper(NEUTRAL, task)


@pytest.mark.parametrize("task", PROMPTS)
def test_base_is_the_papers_without_its_agent_line(task: str) -> None:
    parts = paper(PERSONAL, task).split("\n\n")
    assert PROMPTS[task].base("[QUERY]", ITEMS) == "\n\n".join([*parts[:3], parts[-1]])


@pytest.mark.parametrize("task", PROMPTS)
def test_without_history_the_whole_sentence_goes(task: str) -> None:
    prompts, parts = PROMPTS[task], paper(PERSONAL, task).split("\n\n")
    assert prompts.base("[QUERY]", ()) == "\n\n".join([*parts[1:3], parts[-1]])
    assert prompts.personal("[QUERY]", (), "[INSIGHT]") == "\n\n".join(parts[1:])
    assert prompts.neutral("[QUERY]", (), "[INSIGHT]") == "\n\n".join(paper(NEUTRAL, task).split("\n\n")[1:])


@pytest.mark.parametrize("task", PROMPTS)
def test_the_note_stands_between_question_and_answer(task: str) -> None:
    parts = paper(PERSONAL, task).split("\n\n")
    assert PROMPTS[task].base("[QUERY]", ITEMS, "[NOTE]") == "\n\n".join([*parts[:3], "[NOTE]", parts[-1]])


@pytest.mark.parametrize("task", PROMPTS)
def test_texts_with_braces_stay_as_they_are(task: str) -> None:
    item = HistoryItem("1", "{text} {0} %s", "{label}")
    prompt = PROMPTS[task].personal("{query} {", [item], "{insight} }")
    assert all(text in prompt for text in ("{text} {0} %s", "{query} {", "{insight} }"))


# ---------------------------------------------------------------------------------------------------- the other tasks

OWN_HISTORY = {
    "lamp1": '1. "[TEXT 1]"\n2. "[TEXT 2]"',
    "lamp4": '1. "[LABEL 1]" is the headline for article: "[TEXT 1]".\n'
    '2. "[LABEL 2]" is the headline for article: "[TEXT 2]".',
    "lamp5": '1. "[LABEL 1]" is the title for abstract: "[TEXT 1]".\n'
    '2. "[LABEL 2]" is the title for abstract: "[TEXT 2]".',
    "lamp6": '1. "[LABEL 1]" is the subject for e-mail: "[TEXT 1]".\n'
    '2. "[LABEL 2]" is the subject for e-mail: "[TEXT 2]".',
}
OWN: dict[str, LampPrompts] = {"lamp1": LAMP_1, "lamp4": LAMP_4, "lamp5": LAMP_5, "lamp6": LAMP_6}


@pytest.mark.parametrize("task", OWN)
def test_our_prompts_are_built_as_the_papers_are(task: str) -> None:
    prompts = OWN[task]
    history, query, question, answer = prompts.base("[QUERY]", ITEMS).split("\n\n")
    assert history.startswith("Suppose you are ")
    assert history.endswith(f": {OWN_HISTORY[task]}")
    assert query.startswith("Now, given a new ")
    assert query.endswith(" by the user: [QUERY]") or task == "lamp1"
    assert question.startswith("Question: ")
    assert answer == "Your answer:"
    personal = prompts.personal("[QUERY]", ITEMS, "[INSIGHT]").split("\n\n")
    neutral = prompts.neutral("[QUERY]", ITEMS, "[INSIGHT]").split("\n\n")
    assert personal[3].startswith("You are a helpfully personalized assistant.")
    assert "The user prefers [INSIGHT]." in personal[3]
    assert neutral[3].startswith(paper(NEUTRAL, "lamp7").split("\n\n")[3])
    assert not any("{" in part for part in [*personal, *neutral])
