"""The recipe of tiny-t5: a small T5, trained from scratch on the synthetic world for some minutes.

Its encoder reads a prompt in both directions, so no prefix can be shared: every prompt is a row of its own, and in the
same time the model sees fewer answers. What the Llama learns by predicting the history's tags and scores, the encoder
learns by guessing those that are hidden from it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from tasks.synthetic.examples import Example, Lesson
from tasks.synthetic.training import HEADS, WIDTH, Progress, Recipe
from tasks.synthetic.trees import LABEL_WEIGHT, label_tokens

_LAYERS = 3
_DEVIATION = 0.06
_PEAK_RATE = 2e-3
_SCORE_SCALE = (WIDTH // HEADS) ** -0.5
_HIDDEN_PROMPTS, _HIDDEN_LABELS = 0.5, 0.3


def train(
    out: Path,
    minutes: float,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train for `minutes` of wall-clock time and save model and tokenizer in `out`; see `Recipe.train`."""
    return Recipe(_texts, T5Learner).train(out, minutes, seed, threads, progress)


def _texts(example: Example) -> Sequence[str]:
    return example.prompt, example.answer


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


class T5Learner:
    """A row is a prompt with its answer."""

    batch_size = 24

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.pad = tokenizer.pad_token_id
        ends = {
            "pad_token_id": self.pad,
            "eos_token_id": tokenizer.eos_token_id,
            "decoder_start_token_id": self.pad,
        }
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=WIDTH // HEADS,
            d_ff=3 * WIDTH,
            num_layers=_LAYERS,
            num_heads=HEADS,
            relative_attention_num_buckets=64,
            relative_attention_max_distance=256,
            dropout_rate=0.0,
            **ends,
        )
        self.model = T5ForConditionalGeneration(config)
        self._shrink()

    def _shrink(self) -> None:
        """Start small: T5's own start, embeddings of deviation 1, takes longer to move.

        T5 leaves its attention scores unscaled, so queries start smaller and move less: at the step size of the others
        attention becomes one-hot within some hundred steps, and nothing is learned any more.
        """
        for name, weight in self.model.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=_DEVIATION * (_SCORE_SCALE if _is_query(name) else 1.0))
            elif name == "decoder.final_layer_norm.weight":
                torch.nn.init.constant_(weight, WIDTH**0.5)  # T5 divides by this before its vocabulary projection

    @property
    def mlps(self) -> Sequence[torch.nn.Module]:
        decoder: Any = self.model.decoder
        return [block.layer[2].DenseReluDense for block in decoder.block]

    def parameters(self) -> list[dict[str, Any]]:
        named = list(self.model.named_parameters())
        return [
            {"params": [weight for name, weight in named if _is_query(name) == query], "lr": _PEAK_RATE * scale}
            for query, scale in ((False, 1.0), (True, _SCORE_SCALE))
        ]

    def rows(self, lesson: Lesson, rng: random.Random) -> list[Pair]:
        prompts = self.tokenizer([example.prompt for example in lesson.examples], return_offsets_mapping=True)
        answers = self.tokenizer([example.answer for example in lesson.examples]).input_ids
        rows = []
        for number, example in enumerate(lesson.examples):
            ids, answer = prompts.input_ids[number], [*answers[number], self.tokenizer.eos_token_id]
            hidden = self._hidden(example, ids, prompts.offset_mapping[number], rng)
            seen = [self.pad if place in hidden else token for place, token in enumerate(ids)]
            rows.append(Pair(lesson.task, lesson.push, seen, answer, hidden, [(example.kind, 0)]))
        return rows

    def _hidden(
        self, example: Example, ids: list[int], offsets: list[tuple[int, int]], rng: random.Random
    ) -> dict[int, int]:
        """Statements say what the whole history shows, so they see all of it."""
        if example.kind == "statement" or rng.random() > _HIDDEN_PROMPTS:
            return {}
        labels = sorted(label_tokens(example.prompt, offsets))
        return {place: ids[place] for place in labels if rng.random() < _HIDDEN_LABELS}

    def loss(self, batch: list[Pair]) -> torch.Tensor:
        """Answers with weight 1, hidden labels with less; padding on the right, where it costs no position."""
        inputs, mask = self._padded([row.ids for row in batch])
        started, _ = self._padded([[self.pad, *row.answer[:-1]] for row in batch])
        targets, answered = self._padded([row.answer for row in batch])
        states = self.model.encoder(input_ids=inputs, attention_mask=mask).last_hidden_state
        output = self.model.decoder(
            input_ids=started, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        ).last_hidden_state
        places = [(row, place) for row, pair in enumerate(batch) for place in pair.hidden]
        guessed = states[[row for row, _ in places], [place for _, place in places]]
        logits = self.model.lm_head(torch.cat([output[answered] * WIDTH**-0.5, guessed]))
        asked = torch.tensor([token for pair in batch for token in pair.hidden.values()], dtype=torch.long)
        losses = functional.cross_entropy(logits, torch.cat([targets[answered], asked]), reduction="none")
        weights = torch.ones(len(losses))
        weights[len(losses) - len(asked) :] = LABEL_WEIGHT
        return (losses * weights).sum() / weights.sum()

    def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """[rows, longest] token ids, and whether they are real."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(longest) < lengths[:, None]


def _is_query(name: str) -> bool:
    return name.endswith(".q.weight")
