"""Synthetic preference pairs (Section 3.1): two outputs to one query, and their representations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from harness.api import Example, FitContext, HistoryItem, Position
from harness.methods.chameleon.insights import Insights

PairText = Literal["full", "history"]


@dataclass(frozen=True)
class OutputPair:
    """The outputs to one example's query, with the prompts that led to them."""

    example: Example
    personal_prompt: str
    neutral_prompt: str
    personal: str
    neutral: str


@dataclass(frozen=True)
class Pairs:
    """Pairs of known users, and their representations [N, num_layers, d] on the CPU."""

    users: tuple[str, ...]
    personal: torch.Tensor
    neutral: torch.Tensor

    @staticmethod
    def join(parts: Sequence["Pairs"]) -> "Pairs":
        """All pairs of at least one part."""
        return Pairs(
            tuple(user for part in parts for user in part.users),
            torch.cat([part.personal for part in parts]),
            torch.cat([part.neutral for part in parts]),
        )


def generate_pairs(context: FitContext, examples: Sequence[Example], insights: dict[str, Insights]) -> list[OutputPair]:
    """Both agents' outputs to each example, identical ones left out (Section 4.1).

    Counts `identical_outputs`, `examples_too_long` to be asked, and `overlong_pairs` that would not fit the context
    together with their prompts.
    """
    asked = [agents for example in examples if (agents := _agents(context, example, insights)) is not None]
    prompts = [personal for _, personal, _ in asked] + [neutral for _, _, neutral in asked]
    outputs = context.lm.generate(
        prompts, context.task.max_new_tokens, one_line=True, time_left=context.clock.time_left
    )
    rows = zip(asked, outputs[: len(asked)], outputs[len(asked) :], strict=True)
    made = [OutputPair(*row, personal, neutral) for row, personal, neutral in rows]
    different = [pair for pair in made if pair.personal.strip() != pair.neutral.strip()]
    kept = [pair for pair in different if _fits(context, pair)]
    counts = context.report.counts
    counts["identical_outputs"] = counts.get("identical_outputs", 0) + len(made) - len(different)
    if len(asked) < len(examples):
        counts["examples_too_long"] = counts.get("examples_too_long", 0) + len(examples) - len(asked)
    counts["overlong_pairs"] = counts.get("overlong_pairs", 0) + len(different) - len(kept)
    return kept


def represent_pairs(context: FitContext, pairs: Sequence[OutputPair], text: PairText, position: Position) -> Pairs:
    """Embed the preferences p^P and p^N of the pairs.

    `full`: the prompt that led to the output, and the output. `history`: history, query and output, so that the two
    differ in the output only.
    """
    if text == "history":
        pairs = [shown for pair in pairs if (shown := _with_base_prompt(context, pair)) is not None]
    prompts = [pair.personal_prompt for pair in pairs] + [pair.neutral_prompt for pair in pairs]
    outputs = [pair.personal for pair in pairs] + [pair.neutral for pair in pairs]
    personal, neutral = context.lm.represent(prompts, outputs, position).tensor_split(2)
    return Pairs(tuple(pair.example.user for pair in pairs), personal, neutral)


def _agents(context: FitContext, example: Example, insights: dict[str, Insights]) -> tuple[Example, str, str] | None:
    """The example with the two agents' prompts; None where one of them does not fit the context."""
    own, prompts = insights.get(example.user), context.task.prompts
    if own is None:
        return None
    personal = _prompt(context, example, partial(prompts.personal, insight=own.personal))
    neutral = _prompt(context, example, partial(prompts.neutral, insight=own.neutral))
    return None if personal is None or neutral is None else (example, personal, neutral)


def _prompt(
    context: FitContext,
    example: Example,
    build: Callable[[str, Sequence[HistoryItem]], str],
    limit: int | None = None,
) -> str | None:
    query = example.query or ""
    return context.shorten(lambda items: build(query, items), example.history, context.task.max_new_tokens, limit)


def _with_base_prompt(context: FitContext, pair: OutputPair) -> OutputPair | None:
    """The outputs after the base prompt, which is shortened to leave room for them; None if it has none (counted)."""
    answers = 0 if context.lm.is_encoder_decoder else max(map(_tokens(context), (pair.personal, pair.neutral)))
    prompt = _prompt(context, pair.example, context.task.prompts.base, context.lm.max_length - answers)
    if prompt is None:
        context.report.counts["overlong_pairs"] = context.report.counts.get("overlong_pairs", 0) + 1
        return None
    return replace(pair, personal_prompt=prompt, neutral_prompt=prompt)


def _fits(context: FitContext, pair: OutputPair) -> bool:
    # An output can take more tokens than it was generated with, e.g. where broken characters were replaced.
    if context.lm.is_encoder_decoder:
        return True
    tokens, sides = _tokens(context), ((pair.personal_prompt, pair.personal), (pair.neutral_prompt, pair.neutral))
    return all(context.lm.count_tokens(prompt) + tokens(output) <= context.lm.max_length for prompt, output in sides)


def _tokens(context: FitContext) -> Callable[[str], int]:
    """Counts the tokens of an output."""
    return lambda output: len(context.lm.answer_ids(output))
