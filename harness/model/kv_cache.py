"""Keys and values of a batch that is decoded: written into place token by token, and moved only where a row leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


def joined(caches: Sequence[DynamicCache], room: int) -> DynamicCache:
    """One cache of the rows of all, which end at the same place, with room for so many more tokens.

    The layers given are let go one by one. Layers of other kinds than DynamicLayer, e.g. with sliding windows, stay as
    they are: `caches` is then one cache (`may_be_joined`).
    """
    whole = DynamicCache()
    whole.layer_class_to_replicate = None
    for number, layer in enumerate(caches[0].layers):
        plain = type(layer) is DynamicLayer and layer.is_initialized
        whole.layers.append(PreallocatedLayer([cache.layers[number] for cache in caches], room) if plain else layer)
        for cache in caches:
            cache.layers[number] = DynamicLayer()
    return whole


def may_be_joined(cache: DynamicCache) -> bool:
    """Whether every layer remembers all tokens, so that rows that were computed apart can go on together."""
    return all(type(layer) is DynamicLayer for layer in cache.layers)


class PreallocatedLayer(DynamicLayer):
    """Keys and values [B, H, T, d] as views of buffers with room: no step copies what earlier steps wrote.

    `parts` are layers that hold some of the rows each; shorter ones are padded on the left with zeros.
    """

    def __init__(self, parts: Sequence[Any], room: int) -> None:
        super().__init__()
        self._key_room = _right_aligned([part.keys for part in parts], room)
        self._value_room = _right_aligned([part.values for part in parts], room)
        self.dtype, self.device = self._key_room.dtype, self._key_room.device
        self.is_initialized = True
        self._show(self._key_room.shape[-2] - room)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens, [B, H, t, d]; gives those of all tokens."""
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        self._key_room[..., start:end, :] = key_states
        self._value_room[..., start:end, :] = value_states
        self._show(end)
        return self._key_room[..., :end, :], self._value_room[..., :end, :]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at `indices`, each at most once, in this order; rows that keep their place are not copied."""
        length = self.get_seq_length()
        here = torch.arange(len(indices))
        moved = here[indices != here]
        for buffer in (self._key_room, self._value_room) if len(moved) else ():
            written = buffer[..., :length, :]
            written[moved.to(self.device)] = written[indices[moved].to(self.device)]
        self._key_room = self._key_room[: len(indices)]
        self._value_room = self._value_room[: len(indices)]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys = self._key_room[..., :length, :]
        self.values = self._value_room[..., :length, :]


def _right_aligned(parts: Sequence[Tensor], room: int) -> Tensor:
    length = max(part.shape[-2] for part in parts)
    found = parts[0].new_empty(sum(map(len, parts)), parts[0].shape[1], length + room, parts[0].shape[-1])
    start = 0
    for part in parts:
        rows = found[start : start + len(part)]
        rows[..., : length - part.shape[-2], :] = 0
        rows[..., length - part.shape[-2] : length, :] = part
        start += len(part)
    return found
