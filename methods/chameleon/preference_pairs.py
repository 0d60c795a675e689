"""Synthetic preference pairs (Section 3.1): two outputs to one query, and their representations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    Counts `identical_outputs`, and `overlong_pairs` that would not fit the context together with their prompts.
    """
    prompts = context.task.prompts
    personal = [
        _prompt(context, example, partial(prompts.personal, insight=insights[example.user].personal))
        for example in examples
    ]
    neutral = [
        _prompt(context, example, partial(prompts.neutral, insight=insights[example.user].neutral))
        for example in examples
    ]
    outputs = context.lm.generate(personal + neutral, context.task.max_new_tokens, one_line=True)
    rows = zip(examples, personal, neutral, outputs[: len(examples)], outputs[len(examples) :], strict=True)
    made = [OutputPair(*row) for row in rows]
    different = [pair for pair in made if pair.personal.strip() != pair.neutral.strip()]
    kept = [pair for pair in different if _fits(context, pair)]
    counts = context.report.counts
    counts["identical_outputs"] = counts.get("identical_outputs", 0) + len(made) - len(different)
    counts["overlong_pairs"] = counts.get("overlong_pairs", 0) + len(different) - len(kept)
    return kept


def represent_pairs(context: FitContext, pairs: Sequence[OutputPair], text: PairText, position: Position) -> Pairs:
    """Embed the preferences p^P and p^N of at least one pair.

    `full`: the prompt that led to the output, and the output. `history`: history, query and output, so that the two
    differ in the output only.
    """
    users = tuple(pair.example.user for pair in pairs)
    prompts = [pair.personal_prompt for pair in pairs] + [pair.neutral_prompt for pair in pairs]
    if text == "history":
        prompts = [_prompt(context, pair.example, context.task.prompts.base) for pair in pairs] * 2
    outputs = [pair.personal for pair in pairs] + [pair.neutral for pair in pairs]
    personal, neutral = context.lm.represent(prompts, outputs, position).split(len(pairs))
    return Pairs(users, personal, neutral)


def _prompt(context: FitContext, example: Example, build: Callable[[str, Sequence[HistoryItem]], str]) -> str:
    query = example.query or ""
    return context.shorten(lambda items: build(query, items), example.history, context.task.max_new_tokens)


def _fits(context: FitContext, pair: OutputPair) -> bool:
    # An output can take more tokens than it was generated with, e.g. where broken characters were replaced.
    if context.lm.is_encoder_decoder:
        return True
    texts = (f"{pair.personal_prompt} {pair.personal}", f"{pair.neutral_prompt} {pair.neutral}")
    return all(context.lm.count_tokens(text) <= context.lm.max_length for text in texts)
