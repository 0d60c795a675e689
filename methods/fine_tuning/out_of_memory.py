"""What to do when a training run does not fit the device's memory: the same steps in smaller pieces."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from harness.api import HarnessError

T = TypeVar("T")

# Recomputation of activations: the other kind needs inputs with gradients, which an adapted model's do not have.
RECOMPUTED = {"use_reentrant": False}
_SMALLEST = "one example at a time and with gradient checkpointing"
_ON_A_CPU = ("not enough memory", "can't allocate memory")  # torch raises a plain RuntimeError there


def unless_out_of_memory(run: Callable[[], T]) -> T | None:
    """What `run` returns; None if it ran out of memory, with all that it had taken given back."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    # Only here are the error and the tensors that its traceback holds gone.
    gc.collect()
    torch.cuda.empty_cache()
    return None


def nothing_left(device: torch.device, where: str = _SMALLEST) -> HarnessError:
    """The error where no piece of a step can be smaller, or where it was no piece that did not fit."""
    return HarnessError(
        f"Training runs out of memory on {device}, {where}. "
        "Train an adapter (aloe: training=lora) or a smaller one (lora.r), lower max_length or --history, use a "
        "smaller or quantized model (--quantization nf4), or a device with more memory."
    )


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _ON_A_CPU)
