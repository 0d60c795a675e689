"""One device per fit, whatever else is visible, and in what precision it trains."""

from typing import TypeVar

import torch
from torch import nn
from transformers import TrainingArguments

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def on_one_device(args: Arguments, device: torch.device) -> Arguments:
    """The same arguments, for training on `device` alone.

    By themselves they take the first GPU, and with several visible the batch is multiplied and the model wrapped in
    DataParallel, which trl refuses.
    """
    args.__dict__["_setup_devices"] = device  # a cached property, found and counted while the arguments were made
    args._n_gpu = 0 if device.type == "cpu" else 1
    if device.type == "cuda":
        torch.cuda.set_device(device)  # accelerate places batches on the current device
    return args


def computes_halves(device: torch.device) -> bool:
    """Whether products are made in bfloat16: where a GPU does so itself, and not by emulation."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def in_single_precision(model: nn.Module) -> None:
    """Train in float32 what is trained: trl makes an adapter on quantized weights bfloat16, which loses small steps."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
