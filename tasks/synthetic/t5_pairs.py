"""One user's prompts for an encoder-decoder: pairs of prompt and answer, some of the history's labels hidden.

An encoder reads in both directions, so no prefix can be shared, and every prompt is encoded whole.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from harness.tasks.synthetic.examples import Lesson
from harness.tasks.synthetic.llama_trees import LABEL_WEIGHT, label_tokens

_HIDDEN_PROMPTS, _HIDDEN_LABELS = 0.5, 0.3


@dataclass(frozen=True)
class Pair:
    """Token ids of a prompt and of its answer, the end included; `hidden` maps places in the prompt to true tokens."""

    task: str
    push: float
    ids: list[int]
    answer: list[int]
    hidden: dict[int, int]
    ends: list[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.ids) + len(self.answer)


def build_pairs(tokenizer: PreTrainedTokenizerBase, lesson: Lesson, rng: random.Random) -> list[Pair]:
    """A pair for each example of one user; padding stands for what is hidden.

    Statements say what the whole history shows, so they see all of it.
    """
    prompts = tokenizer([example.prompt for example in lesson.examples], return_offsets_mapping=True)
    answers = tokenizer([example.answer for example in lesson.examples]).input_ids
    pairs = []
    for example, ids, offsets, answer in zip(
        lesson.examples, prompts.input_ids, prompts.offset_mapping, answers, strict=True
    ):
        hides = example.kind != "statement" and rng.random() < _HIDDEN_PROMPTS
        labels = sorted(label_tokens(example.prompt, offsets)) if hides else []
        hidden = {place: ids[place] for place in labels if rng.random() < _HIDDEN_LABELS}
        seen = [tokenizer.pad_token_id if place in hidden else token for place, token in enumerate(ids)]
        answer = [*answer, tokenizer.eos_token_id]
        pairs.append(Pair(lesson.task, lesson.push, seen, answer, hidden, [(example.kind, 0)]))
    return pairs


def collate(pairs: Sequence[Pair], pad: int) -> dict[str, torch.Tensor]:
    """Pad to a batch, on the right. `places` [hidden, 2] are row and place of what is hidden, `labels` its tokens.

    `decoder_input_ids` begin with the start token, which is `pad`; `answered` marks the real `targets`; `weights` are
    those of the targets, row by row, then of the labels.
    """
    input_ids, attention_mask = _padded([pair.ids for pair in pairs], pad)
    decoder_input_ids, _ = _padded([[pad, *pair.answer[:-1]] for pair in pairs], pad)
    targets, answered = _padded([pair.answer for pair in pairs], pad)
    places = [(row, place) for row, pair in enumerate(pairs) for place in pair.hidden]
    weights = [1.0] * int(answered.sum()) + [LABEL_WEIGHT] * len(places)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "decoder_input_ids": decoder_input_ids,
        "targets": targets,
        "answered": answered,
        "places": torch.tensor(places, dtype=torch.long).reshape(-1, 2),
        "labels": torch.tensor([token for pair in pairs for token in pair.hidden.values()], dtype=torch.long),
        "weights": torch.tensor(weights),
    }


def _padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, longest] token ids, and whether they are real."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) < lengths[:, None]
