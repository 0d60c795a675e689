"""Training records whose prompts are, token for token, what the model is asked later."""

from collections.abc import Collection
from dataclasses import dataclass

from harness.api import Example, FitContext, LanguageModel

Record = dict[str, list[int]]  # token ids by column


@dataclass(frozen=True)
class Row:
    """A prompt, the answers to learn from by name, and the user they came from ("" for general data)."""

    prompt: str
    answers: dict[str, str]
    user: str


def record(lm: LanguageModel, row: Row) -> Record:
    """The token ids of the prompt and of each answer with its end, as `LanguageModel` sends and reads them.

    Trainers get no texts: they would read a special token in one as control, and render templates in their own way.
    """
    answers = {f"{name}_ids": [*lm.answer_ids(text), lm.answer_end] for name, text in row.answers.items()}
    return {"prompt_ids": lm.prompt_ids(row.prompt), **answers}


def joined(record: Record) -> Record:
    """Prompt and completion as one sequence, with a mask of what belongs to the completion, as trl's SFT takes them."""
    prompt, completion = record["prompt_ids"], record["completion_ids"]
    return {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}


def room(lm: LanguageModel, max_length: int, answers: Collection[str]) -> int:
    """How many tokens of a prompt fit beside the longest answer and its end; an encoder-decoder keeps the two apart."""
    length = min(max_length, lm.max_length)
    longest = max(len(lm.answer_ids(answer)) for answer in answers) + 1
    if lm.is_encoder_decoder:
        return length if longest <= length else 0
    return max(length - longest, 0)


def training_prompt(context: FitContext, max_length: int, example: Example, answers: Collection[str]) -> str | None:
    """The base prompt, shortened to leave room for the answers; None (counted) if it is too long without history."""
    query, limit = example.query or "", room(context.lm, max_length, answers)
    prompt = context.shorten(lambda items: context.task.prompts.base(query, items), example.history, 0, limit)
    if prompt is None:
        context.report.count("examples_too_long")
    return prompt
