"""The recipe of tiny-llama: a small Llama, trained from scratch on the synthetic world for some minutes."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from harness.tasks.synthetic.examples import Example, Lesson
from harness.tasks.synthetic.llama_trees import Tree, build_tree, collate
from harness.tasks.synthetic.recipe import HEADS, LAYERS, WIDTH, Recipe
from harness.tasks.synthetic.tokenizer import MAX_LENGTH

_PEAK_RATE = 3e-3


def _texts(example: Example) -> Sequence[str]:
    return (f"{example.prompt} {example.answer}",)


class LlamaLearner:
    """A row is a user: a tree of all their prompts."""

    batch_size = 12

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        self.model = LlamaForCausalLM(config)

    @property
    def mlps(self) -> Sequence[torch.nn.Module]:
        return [layer.mlp for layer in self.model.model.layers]

    def parameters(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": _PEAK_RATE}]

    def rows(self, lesson: Lesson, rng: random.Random) -> list[Tree]:
        return [build_tree(self.tokenizer, lesson, rng)]

    def loss(self, batch: list[Tree]) -> torch.Tensor:
        """The weighted loss, with vocabulary logits only where a weight asks for them."""
        tensors = collate(batch)
        hidden = self.model.model(
            input_ids=tensors["input_ids"],
            position_ids=tensors["position_ids"],
            attention_mask=tensors["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        chosen = tensors["weights"] > 0
        logits = self.model.lm_head(hidden[chosen])
        losses = functional.cross_entropy(logits, tensors["targets"][chosen], reduction="none")
        weights = tensors["weights"][chosen]
        return (losses * weights).sum() / weights.sum()


train = Recipe(_texts, LlamaLearner).train
