"""Training records whose prompts are, token for token, what the model is asked later."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from harness.api import Example, FitContext, LanguageModel

Text = str | list[dict[str, str]]


@dataclass(frozen=True)
class Row:
    """A prompt, the answers to learn from by name, and the user they came from ("" for general data)."""

    prompt: str
    answers: dict[str, str]
    user: str


def record(lm: LanguageModel, row: Row) -> dict[str, Any]:
    """What the trainer takes: for trl the texts, which it tokenizes; for an encoder-decoder the token ids."""
    if lm.is_encoder_decoder:
        end = [lm.tokenizer.eos_token_id]
        targets = {f"{name}_ids": lm.answer_ids(text) + end for name, text in row.answers.items()}
        return {"prompt_ids": lm.prompt_ids(row.prompt), **targets}
    answers = {name: _turn(lm, "assistant", text) for name, text in row.answers.items()}
    return {"prompt": _turn(lm, "user", row.prompt), **answers}


def plain_text(lm: LanguageModel, text: str) -> str:
    """Text from data that holds no special token, as `LanguageModel` treats it too; trl would read one as control."""
    for token in lm.tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def room(lm: LanguageModel, max_length: int, answers: Collection[str]) -> int:
    """How many tokens of a prompt fit beside the longest answer and its end; an encoder-decoder keeps the two apart."""
    length = min(max_length, lm.max_length)
    longest = max(lm.count_tokens(answer) for answer in answers) + 1
    if lm.is_encoder_decoder:
        return length if longest <= length else 0
    return max(length - longest, 0)


def training_prompt(context: FitContext, max_length: int, example: Example, answers: Collection[str]) -> str | None:
    """The base prompt, shortened to leave room for the answers; None (counted) if it is too long without history."""
    query, limit = example.query or "", room(context.lm, max_length, answers)
    prompt = context.shorten(lambda items: context.task.prompts.base(query, items), example.history, 0, limit)
    if prompt is None:
        context.report.counts["examples_too_long"] = context.report.counts.get("examples_too_long", 0) + 1
    return prompt


def _turn(lm: LanguageModel, role: Literal["user", "assistant"], text: str) -> Text:
    """A prompt ("user") or an answer as `generate` sends and reads it: chat message, or text after a space."""
    text = plain_text(lm, text)
    if lm.tokenizer.chat_template:
        return [{"role": role, "content": text}]
    return text if role == "user" else f" {text}"
