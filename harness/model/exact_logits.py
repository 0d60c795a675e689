"""Logits of half-precision models in float32: their own come in steps of an eighth, in which close answers tie."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_ROWS = 2**14  # of the vocabulary at once, so that its weights are never in memory twice


def rounds_logits(model: Any) -> bool:
    """Whether the model projects onto its vocabulary in half precision, by plain weights that can be had in float32."""
    head = model.get_output_embeddings()
    return type(head) is nn.Linear and head.weight.dtype in (torch.bfloat16, torch.float16)


@contextmanager
def exact_logits(model: Any) -> Iterator[None]:
    """While open, a model that `rounds_logits` gives float32 logits: the same states and weights, multiplied exactly.

    What an architecture does to logits afterwards, such as capping them, is then done in float32 too.
    """
    if not rounds_logits(model):
        yield
        return
    hook = model.get_output_embeddings().register_forward_hook(_project)
    try:
        yield
    finally:
        hook.remove()


def _project(head: nn.Linear, args: tuple[Tensor], rounded: Tensor) -> Tensor:
    states = args[0].float()
    logits = torch.cat([linear(states, weights.float()) for weights in head.weight.split(_ROWS)], -1)
    return logits if head.bias is None else logits + head.bias.float()
