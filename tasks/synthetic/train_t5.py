"""The recipe of tiny-t5: a small T5, trained from scratch on the synthetic world for some minutes.

What the Llama learns by predicting the history's tags and scores, the encoder learns by guessing those that are hidden
from it. As no prompts share a prefix, the same time holds fewer answers, and so the model has fewer layers.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from harness.tasks.synthetic.examples import Example, Lesson
from harness.tasks.synthetic.recipe import HEADS, WIDTH, Recipe
from harness.tasks.synthetic.t5_pairs import Pair, build_pairs, collate

_LAYERS = 3
_DEVIATION = 0.06
_PEAK_RATE = 2e-3
_SCORE_SCALE = (WIDTH // HEADS) ** -0.5


def _texts(example: Example) -> Sequence[str]:
    return example.prompt, example.answer


class T5Learner:
    """A row is a prompt with its answer."""

    batch_size = 24

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        ends = {
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "decoder_start_token_id": tokenizer.pad_token_id,
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
        return build_pairs(self.tokenizer, lesson, rng)

    def loss(self, batch: list[Pair]) -> torch.Tensor:
        """The weighted loss, with vocabulary logits only for answers and hidden labels."""
        tensors = collate(batch, self.tokenizer.pad_token_id)
        mask = tensors["attention_mask"]
        states = self.model.encoder(input_ids=tensors["input_ids"], attention_mask=mask).last_hidden_state
        output = self.model.decoder(
            input_ids=tensors["decoder_input_ids"],
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        answered, places = tensors["answered"], tensors["places"]
        asked = torch.cat([output[answered] * WIDTH**-0.5, states[places[:, 0], places[:, 1]]])
        targets = torch.cat([tensors["targets"][answered], tensors["labels"]])
        losses = functional.cross_entropy(self.model.lm_head(asked), targets, reduction="none")
        return (losses * tensors["weights"]).sum() / tensors["weights"].sum()


def _is_query(name: str) -> bool:
    return name.endswith(".q.weight")


train = Recipe(_texts, T5Learner).train
