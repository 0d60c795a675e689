"""Insight generation (Section 3.1): what the personalized and the neutral agent conclude from a user's history."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import Example, FitContext, InsightKind, User
from harness.methods.chameleon.insight_text import clean_insight


@dataclass(frozen=True)
class Insights:
    """c_u^P and c_u^N of one user."""

    personal: str
    neutral: str


def add_insights(
    context: FitContext, examples: Sequence[Example], insights: dict[str, Insights], max_new_tokens: int
) -> None:
    """Put into `insights` both insights of those of the examples' users who are not in it yet, two prompts per user.

    A user for whom the request does not fit the context gets none.
    """
    wanted = {example.user for example in examples} - insights.keys()
    users = [user for user in context.users if user.id in wanted]
    requests = [
        (user.id, personal, neutral)
        for user in users
        if (personal := _request(context, "personal", user, max_new_tokens)) is not None
        and (neutral := _request(context, "neutral", user, max_new_tokens)) is not None
    ]
    prompts = [prompt for _, *own in requests for prompt in own]
    outputs = [
        clean_insight(output)
        for output in context.lm.generate(prompts, max_new_tokens, time_left=context.clock.time_left)
    ]
    for (user_id, *_), personal, neutral in zip(requests, outputs[::2], outputs[1::2], strict=True):
        insights[user_id] = Insights(personal, neutral)


def _request(context: FitContext, kind: InsightKind, user: User, max_new_tokens: int) -> str | None:
    return context.shorten(lambda items: context.task.prompts.insight(kind, items), user.history, max_new_tokens)
