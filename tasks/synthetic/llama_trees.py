"""One user's prompts as a tree of tokens: the history once, and a tail for each prompt and answer.

A tail attends to the shared history and to itself only: the same numbers as separate prompts, at about half the cost.
"""

import random
import re
from dataclasses import dataclass
from itertools import takewhile

import torch
from transformers import PreTrainedTokenizerBase

from harness.tasks.synthetic.examples import Lesson

_LABELS = re.compile(r'" is "([^"\n]+)"|^.*?\d\. (\d) is the rating', re.MULTILINE)
_TEXT_SHARE = 0.03
LABEL_WEIGHT = 0.5


@dataclass(frozen=True)
class Tree:
    """Token ids of a shared prefix and of the tails, with a target and a loss weight for each.

    `ends` holds the kind of each tail and the place of its last prompt token; `push` is the strength of the projection
    edit under which the answers hold, 0 for none.
    """

    task: str
    push: float
    ids: list[int]
    positions: list[int]
    segments: list[int]
    weights: list[float]
    targets: list[int]
    ends: list[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.ids)


def build_tree(tokenizer: PreTrainedTokenizerBase, lesson: Lesson, rng: random.Random) -> Tree:
    """Merge the examples of one user."""
    examples = lesson.examples
    prompts = tokenizer([example.prompt for example in examples], return_offsets_mapping=True)
    answers = tokenizer([f" {example.answer}" for example in examples]).input_ids
    shared = _shared_length(prompts.input_ids)
    prefix = prompts.input_ids[0][:shared]
    labels = label_tokens(examples[0].prompt, prompts.offset_mapping[0][:shared])
    weights = [LABEL_WEIGHT if place in labels else _text_weight(rng) for place in range(shared)]
    ids, positions, segments, targets = list(prefix), list(range(shared)), [0] * shared, [*prefix[1:], 0]
    weights = [*weights[1:], 0.0] if shared else []
    ends: list[tuple[str, int]] = []
    for number, (prompt, answer) in enumerate(zip(prompts.input_ids, answers, strict=True), start=1):
        answer = [*answer, tokenizer.eos_token_id]
        tail = prompt[shared:] + answer
        positions += range(shared, shared + len(tail))
        segments += [number] * len(tail)
        targets += [*tail[1:], 0]
        asked = len(prompt) - shared
        ends.append((examples[number - 1].kind, len(ids) + asked - 1))
        weights += [_text_weight(rng) for _ in range(asked - 1)] + [1.0] * len(answer) + [0.0]
        ids += tail
    return Tree(lesson.task, lesson.push, ids, positions, segments, weights, targets, ends)


def _shared_length(prompts: list[list[int]]) -> int:
    """How many first tokens all prompts share; each keeps its last token, which predicts the answer."""
    equal = takewhile(lambda column: len(set(column)) == 1, zip(*(prompt[:-1] for prompt in prompts), strict=False))
    return sum(1 for _ in equal)


def _text_weight(rng: random.Random) -> float:
    return LABEL_WEIGHT if rng.random() < _TEXT_SHARE else 0.0


def label_tokens(prompt: str, offsets: list[tuple[int, int]]) -> set[int]:
    """The places of the tokens that hold the history's tags or scores; `offsets` are those of the prompt's tokens."""
    spans = [match.span(match.lastindex or 0) for match in _LABELS.finditer(prompt)]
    return {
        place
        for place, (start, end) in enumerate(offsets)
        if any(start < span_end and span_start < end for span_start, span_end in spans)
    }


def collate(trees: list[Tree]) -> dict[str, torch.Tensor]:
    """Pad to a batch; `attention_mask` lets a token see the shared prefix and its own tail, causally."""
    width = max(len(tree.ids) for tree in trees)

    def padded(rows: list[list[int]] | list[list[float]], value: float) -> torch.Tensor:
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])

    segments = padded([tree.segments for tree in trees], -1).long()
    same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    return {
        "input_ids": padded([tree.ids for tree in trees], 0).long(),
        "position_ids": padded([tree.positions for tree in trees], 0).long(),
        "attention_mask": (same & torch.ones(width, width, dtype=torch.bool).tril())[:, None],
        "targets": padded([tree.targets for tree in trees], 0).long(),
        "weights": padded([tree.weights for tree in trees], 0.0).float(),
    }
