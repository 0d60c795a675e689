"""DPO's pairs with their prompt computed once: prompt, chosen and rejected answer are one sequence.

The rejected answer stands at the positions after the prompt and does not see the chosen one. That changes no
log-likelihood, and a prompt has many times an answer's tokens.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from harness.methods.fine_tuning.answer_likelihood import IGNORED
from harness.methods.fine_tuning.training_data import Record


def can_share(model: Any) -> bool:
    """Whether the model takes a mask of our own: torch's attention, over all that the mask allows, at given positions.

    A sliding window is made by the model from a mask of its own, and ALiBi positions are counted from one, even where
    the model takes others.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config._attn_implementation == "sdpa"
        and getattr(config, "sliding_window", None) is None
        and not getattr(config, "alibi", False)
        and kinds == {"full_attention"}
        and "position_ids" in inspect.signature(type(model).forward).parameters
    )


@dataclass
class SharedPrompts:
    """Collates B pairs to sequences of T tokens, padded on the right, whose A answer tokens are predicted.

    input_ids and position_ids [B, T]; attention_mask [B, 1, T, T], True where a token is seen; predictors, the
    positions whose logits tell of an answer's token, and targets, that token, [B, A]; of_chosen [B, A].
    """

    pad: int

    def __call__(self, rows: list[Record]) -> dict[str, Tensor]:
        made = [self._one(row) for row in rows]
        batch = {
            name: pad_sequence([one[name] for one in made], batch_first=True, padding_value=value)
            for name, value in (
                ("input_ids", self.pad),
                ("position_ids", 0),
                ("predictors", 0),
                ("targets", IGNORED),
                ("of_chosen", False),
            )
        }
        length = batch["input_ids"].shape[1]
        return {**batch, "attention_mask": torch.stack([_mask(row, length) for row in rows])[:, None]}

    def _one(self, row: Record) -> dict[str, Tensor]:
        prompt, chosen, rejected = row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]
        start, middle, end = len(prompt), len(prompt) + len(chosen), len(prompt) + len(chosen) + len(rejected)
        return {
            "input_ids": torch.tensor(prompt + chosen + rejected),
            "position_ids": torch.tensor([*range(middle), *range(start, start + len(rejected))]),
            # The last token of the prompt predicts the first of either answer.
            "predictors": torch.tensor([*range(start - 1, middle - 1), start - 1, *range(middle, end - 1)]),
            "targets": torch.tensor(chosen + rejected),
            "of_chosen": torch.tensor([True] * len(chosen) + [False] * len(rejected)),
        }


def shared_log_likelihoods(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Log-likelihoods of all chosen answers, then of all rejected ones, in nats, [2 * B] float32."""
    targets, answer = batch["targets"], batch["targets"] != IGNORED
    kept = batch["predictors"][answer].unique()
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch["position_ids"],
        use_cache=False,
        logits_to_keep=kept,
    ).logits.float()
    where = torch.searchsorted(kept, batch["predictors"]).clamp(max=len(kept) - 1)
    picked = logits.gather(1, where[..., None].expand(-1, -1, logits.shape[-1]))
    losses = cross_entropy(picked.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    found, chosen = -losses.view_as(targets), batch["of_chosen"]
    return torch.cat([(found * chosen).sum(1), (found * ~chosen).sum(1)])


def _mask(row: Record, length: int) -> Tensor:
    """[T, T]: what came before, but for the chosen answer in the rejected one; padding sees the first token only."""
    start = len(row["prompt_ids"])
    middle = start + len(row["chosen_ids"])
    end = middle + len(row["rejected_ids"])
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[middle:, start:middle] = False
    mask[end:, 1:] = False
    return mask
