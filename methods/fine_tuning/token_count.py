"""What training reads, counted where it happens: in the forward passes of the model that is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.api import LanguageModel


@contextmanager
def counted(lm: LanguageModel, model: nn.Module) -> Iterator[None]:
    """Add to `lm.tokens_in` the prompt and answer tokens of every forward pass of `model`, padding left out.

    Each pass counts: every epoch, DPO's reference. What goes backward does not count again, although it costs about
    twice as much as what went forward.
    """
    # Sums stay on the device until the end: reading each would make the processor wait for every step.
    passes: list[Tensor] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        mask = named["attention_mask"]
        # In a mask of our own, [B, 1, T, T], padding does not see itself.
        passes.append(mask.diagonal(dim1=-2, dim2=-1).sum() if mask.ndim == 4 else mask.sum())
        if (decoded := named.get("decoder_input_ids")) is not None:
            # The start token stands for the end of sequence, which shorter rows have besides; T5 pads with its start.
            read = (decoded[:, 1:] != lm.tokenizer.pad_token_id) & (decoded[:, 1:] != lm.tokenizer.eos_token_id)
            passes.append(read.sum() + len(decoded))

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        lm.tokens_in += int(torch.stack(passes).sum()) if passes else 0
