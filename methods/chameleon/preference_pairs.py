"""Synthetic preference pairs (Section 3.1): two outputs to one query, and their representations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.nn.functional import cosine_similarity

from harness.api import Example, FitContext, HistoryItem, Position, Site
from harness.methods.answer_pairs import count_left_out, pair_prompt
from harness.methods.chameleon.insights import Insights

PairText = Literal["full", "history"]


@dataclass(frozen=True)
class OutputPair:
    """The outputs to one example's query, with the prompts that led to them.

    The states [num_layers, d] are those of prompt and output, where they were recorded while generating.
    """

    example: Example
    personal_prompt: str
    neutral_prompt: str
    personal: str
    neutral: str
    personal_state: torch.Tensor | None = None
    neutral_state: torch.Tensor | None = None


@dataclass(frozen=True)
class Pairs:
    """Pairs of known users, and their representations [N, num_layers, d] on the CPU."""

    users: tuple[str, ...]
    personal: torch.Tensor
    neutral: torch.Tensor


def generate_pairs(
    context: FitContext,
    examples: Sequence[Example],
    insights: dict[str, Insights],
    record: Position | None = None,
    site: Site = "mlp",
) -> list[OutputPair]:
    """Both agents' outputs to each example, identical ones left out (Section 4.1); with their states at `record`.

    Counts `identical_outputs`, `examples_too_long` to be asked, `overlong_pairs` that would not fit the context
    together with their prompts, and `empty_outputs`: where one side says nothing there is no preference, and its
    representation would be that of the prompt.
    """
    asked = [agents for example in examples if (agents := _agents(context, example, insights)) is not None]
    # An example's prompts are neighbours: what they share is computed once where they are in one batch.
    prompts = [prompt for _, *agents in asked for prompt in agents]
    outputs, states = _generate(context, prompts, record, site)
    made = [
        OutputPair(*agents, personal, neutral, *recorded)
        for agents, personal, neutral, *recorded in zip(
            asked, outputs[::2], outputs[1::2], states[::2], states[1::2], strict=True
        )
    ]
    different = [pair for pair in made if pair.personal.strip() != pair.neutral.strip()]
    said = [pair for pair in different if pair.personal.strip() and pair.neutral.strip()]
    kept = [pair for pair in said if _fits(context, pair)]
    context.report.count("identical_outputs", len(made) - len(different))
    count_left_out(context, "empty_outputs", different, said)
    count_left_out(context, "examples_too_long", examples, asked)
    context.report.count("overlong_pairs", len(said) - len(kept))
    return kept


def dissimilar(context: FitContext, pairs: Sequence[OutputPair], most: float) -> list[OutputPair]:
    """Pairs whose outputs' sentence embeddings have a cosine of at most `most`; the others count `similar_outputs`."""
    if not pairs:
        return []
    found = torch.from_numpy(context.embed([text for pair in pairs for text in (pair.personal, pair.neutral)]))
    cosines = cosine_similarity(found[::2], found[1::2], dim=-1).tolist()
    kept = [pair for pair, cosine in zip(pairs, cosines, strict=True) if cosine <= most]
    context.report.count("similar_outputs", len(pairs) - len(kept))
    return kept


def represent_pairs(
    context: FitContext, pairs: Sequence[OutputPair], text: PairText, position: Position, site: Site = "mlp"
) -> Pairs:
    """Embed the preferences p^P and p^N of the pairs, as the model's states at `site`.

    `full`: the prompt that led to the output, and the output. `history`: history, query and output, so that the two
    differ in the output only. Counts as `texts_represented` those that were not recorded while they were generated.
    Belongs in a step of the clock: raises OutOfTime once that has no time left.
    """
    if text == "history":
        pairs = [shown for pair in pairs if (shown := _with_base_prompt(context, pair)) is not None]
    sides = [
        side
        for pair in pairs
        for side in (
            (pair.personal_prompt, pair.personal, pair.personal_state),
            (pair.neutral_prompt, pair.neutral, pair.neutral_state),
        )
    ]
    missing = [(prompt, output) for prompt, output, state in sides if state is None]
    context.report.count("texts_represented", len(missing))
    prompts, outputs = [prompt for prompt, _ in missing], [output for _, output in missing]
    time_left = context.clock.time_left
    found = iter(context.lm.represent(prompts, outputs, position, site, time_left) if missing else ())
    states = torch.empty(len(sides), context.lm.num_layers, context.lm.hidden_size)
    for place, (*_, state) in enumerate(sides):
        states[place] = next(found) if state is None else state
    return Pairs(tuple(pair.example.user for pair in pairs), states[::2], states[1::2])


def _generate(
    context: FitContext, prompts: Sequence[str], record: Position | None, site: Site
) -> tuple[Sequence[str], Sequence[torch.Tensor | None]]:
    new_tokens, time_left = context.task.max_new_tokens, context.clock.time_left
    if record is None:
        texts = context.lm.generate(prompts, new_tokens, one_line=True, time_left=time_left)
        return texts, [None] * len(prompts)
    found = context.lm.generate_represented(prompts, new_tokens, record, one_line=True, time_left=time_left, site=site)
    return found.texts, found.states


def _agents(context: FitContext, example: Example, insights: dict[str, Insights]) -> tuple[Example, str, str] | None:
    """The example with the two agents' prompts, of one history; None where one of them does not fit the context."""
    own, prompts, query = insights.get(example.user), context.task.prompts, example.query or ""
    if own is None:
        return None
    by_longer: dict[str, tuple[str, str]] = {}

    def longer(items: Sequence[HistoryItem]) -> str:
        both = prompts.personal(query, items, own.personal), prompts.neutral(query, items, own.neutral)
        text = max(both, key=context.lm.count_tokens)
        by_longer[text] = both
        return text

    found = context.shorten(longer, example.history, context.task.max_new_tokens)
    return None if found is None else (example, *by_longer[found])


def _with_base_prompt(context: FitContext, pair: OutputPair) -> OutputPair | None:
    """The outputs after the base prompt, which is shortened to leave room for them; None if it has none (counted)."""
    prompt = pair_prompt(context, pair.example, pair.example.history, (pair.personal, pair.neutral))
    if prompt is None:
        return None
    # What was recorded, if anything was, belongs to other prompts.
    return replace(pair, personal_prompt=prompt, neutral_prompt=prompt, personal_state=None, neutral_state=None)


def _fits(context: FitContext, pair: OutputPair) -> bool:
    # An output can take more tokens than it was generated with, e.g. where broken characters were replaced.
    if context.lm.is_encoder_decoder:
        return True
    lm, sides = context.lm, ((pair.personal_prompt, pair.personal), (pair.neutral_prompt, pair.neutral))
    return all(lm.count_tokens(prompt) + len(lm.answer_ids(output)) <= lm.max_length for prompt, output in sides)
