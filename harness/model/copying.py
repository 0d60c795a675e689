"""Copies of a model in memory, in place of reading its weights again."""

import copy
from typing import TypeVar

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel

M = TypeVar("M", bound=nn.Module)


def copied(model: M, device: torch.device) -> M:
    """A copy on `device` that shares no tensor with `model`; tied weights are tied in it too.

    Tensors go to the device one by one, so that the CPU never holds a second model on the way to another device.
    """
    tensors: dict[int, object] = {
        id(tensor): nn.Parameter(tensor.detach().to(device, copy=True), tensor.requires_grad)
        for tensor in model.parameters()
    }
    tensors |= {id(tensor): tensor.detach().to(device, copy=True) for tensor in model.buffers()}
    return copy.deepcopy(model, tensors)  # which takes what is in there as copied already


def has_room_for(model: PreTrainedModel) -> bool:
    """Whether the CPU's memory has room for twice the model: for a copy, and for what a fit adds to it.

    Weights that are read again instead lie on pages of their file, which the system can drop.
    """
    return psutil.virtual_memory().available > 2 * model.get_memory_footprint()
