"""One device per fit, whatever else is visible."""

from typing import TypeVar

import torch
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
