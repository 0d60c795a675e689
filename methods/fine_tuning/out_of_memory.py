"""What to do when a training run does not fit the device's memory: the same steps in smaller pieces."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from transformers import Trainer

from harness.api import HarnessError

T = TypeVar("T")

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


def lighten(trainer: Trainer) -> None:
    """Let the next `train` take less memory for the same optimizer steps.

    Micro-batches shrink and more of them are accumulated; at one example, activations are computed again instead of
    kept. Raises HarnessError where nothing is left to do.
    """
    args = trainer.args
    size = args.per_device_train_batch_size
    if size > 1:
        smaller = max(part for part in range(1, size) if size % part == 0)
        args.per_device_train_batch_size = smaller
        args.gradient_accumulation_steps *= size // smaller
        trainer._train_batch_size = smaller  # read once, when the trainer was made
    elif not args.activation_checkpointing:
        args.activation_checkpointing = args.gradient_checkpointing = True
    else:
        raise HarnessError(
            f"Training runs out of memory on {args.device}, one example at a time and with gradient checkpointing. "
            "Train an adapter (aloe: training=lora) or a smaller one (lora.r), lower max_length or --history, use a "
            "smaller or quantized model (--quantization nf4), or a device with more memory."
        )
    trainer.optimizer = trainer.lr_scheduler = None
    assert trainer.model is not None
    trainer.model.zero_grad(set_to_none=True)


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _ON_A_CPU)
