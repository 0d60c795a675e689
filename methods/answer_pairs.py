"""Pairs of answers to one question, the user's and the model's for nobody in particular; what prompt both follow."""

from collections.abc import Sequence, Sized
from typing import NamedTuple

from harness.api import Example, FitContext, HistoryItem, Task


class Choice(NamedTuple):
    """Two answers to an example's question."""

    example: Example
    chosen: str
    rejected: str


def answer_pairs(context: FitContext, batch: Sequence[Example], shows_history: bool = True) -> list[Choice]:
    """The user's own answer to each example, and the model's neutral one, generated here.

    `shows_history`: whether the neutral prompt shows the example's history. Counts `examples_too_long` to be asked and
    `identical_outputs`, which teach nothing; both are left out. Where a task has labels, an output that is read as
    the answer is identical too: to reject "5." for "5" would teach to write no full stop.
    """
    asked = [
        (example, prompt) for example in batch if (prompt := _neutral(context, example, shows_history)) is not None
    ]
    outputs = context.lm.generate(
        [prompt for _, prompt in asked],
        context.task.max_new_tokens,
        one_line=True,
        time_left=context.clock.time_left,
    )
    pairs = [Choice(one, one.answer, output.strip()) for (one, _), output in zip(asked, outputs, strict=True)]
    kept = [pair for pair in pairs if not _same(context.task, pair.chosen, pair.rejected)]
    count_left_out(context, "examples_too_long", batch, asked)
    context.report.count("identical_outputs", len(pairs) - len(kept))
    return kept


def count_left_out(context: FitContext, name: str, before: Sized, after: Sized) -> None:
    """Count what `before` has more than `after`, if it has."""
    if len(after) < len(before):
        context.report.count(name, len(before) - len(after))


def pair_prompt(
    context: FitContext, example: Example, history: Sequence[HistoryItem], answers: Sequence[str]
) -> str | None:
    """The base prompt, shortened to leave room for the longer of the answers; None (counted) if it has none."""
    longest = 0 if context.lm.is_encoder_decoder else max(len(context.lm.answer_ids(text)) for text in answers)
    prompt = context.shorten(
        lambda items: context.task.prompts.base(example.query or "", items),
        history,
        context.task.max_new_tokens,
        context.lm.max_length - longest,
    )
    if prompt is None:
        context.report.count("overlong_pairs")
    return prompt


def _same(task: Task, answer: str, output: str) -> bool:
    return answer.strip() == output or (bool(task.labels) and task.parse(output)[0] == answer)


def _neutral(context: FitContext, example: Example, shows_history: bool) -> str | None:
    prompts, query = context.task.prompts, example.query or ""
    return context.shorten(
        lambda items: prompts.neutral(query, items, prompts.generic_insight),
        example.history if shows_history else (),
        context.task.max_new_tokens,
    )
