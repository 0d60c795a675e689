"""The forward pass over prompts: padding, positions, and what sequences share at the beginning once.

Sequences are padded on the left and masked, so that every row ends at the same place; a row's result does not depend on
what shares its batch. A shared prefix is padded by itself: between it and its suffixes the attention mask has holes,
which position ids do not count.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from harness.model.architectures import masks_windows_itself, without_adapter
from harness.model.editing import EditedRows
from harness.model.prefixes import split

Ids = Sequence[list[int]]


@dataclass(frozen=True)
class Prefilled:
    """What a pass over whole sequences leaves: the model's output at their ends, and what decoding goes on from."""

    output: Any
    cache: DynamicCache
    mask: Tensor  # [B, T], 1 for real tokens
    computed: int  # real tokens that went through the model


def prefill(
    model: Any,
    run: Callable[..., Any],
    sequences: Ids,
    limits: Sequence[int],
    sizes: Sequence[int],
    pad: int,
    rows: EditedRows | None = None,
    new_tokens: int = 0,
    first: int = 0,
) -> Prefilled:
    """Run `run`, the model or its body, over the ends of `sequences`, `sizes` of which in turn begin alike.

    `limits[i]` tokens of sequence i stand before its prompt's last one: at most these go through the model's body
    before that, once for all that share them.
    `new_tokens` are those that may follow; without any, nothing is remembered that is not shared. `rows` know the first
    sequence as number `first`.
    """
    inner = without_adapter(model)
    cache = DynamicCache(config=inner.config)
    follows = [len(ids) - limit - 1 for ids, limit in zip(sequences, limits, strict=True)]
    if rows is not None:
        rows.keep(range(first, first + len(sequences)))
        rows.follow(follows)
    prefixes = split(sequences, limits, sizes)
    if prefixes is None or not _may_share(inner, cache, sequences, prefixes, sizes, new_tokens):
        inputs = positioned(left_padded(model, sequences, pad))
        remembered = {"past_key_values": cache, "use_cache": True} if new_tokens else {"use_cache": False}
        output = run(**inputs, **remembered)
        return Prefilled(output, cache, inputs["attention_mask"], sum(map(len, sequences)))
    owners = [group for group, size in enumerate(sizes) for _ in range(size)]
    firsts = [owners.index(group) for group in range(len(sizes))]
    shared = left_padded(model, [sequences[i][:n] for i, n in zip(firsts, prefixes, strict=True)], pad)
    if rows is not None:
        rows.keep([first + i for i in firsts])
        rows.follow(None)
    inner.base_model(**positioned(shared), past_key_values=cache, use_cache=True)
    if rows is not None:
        rows.keep(range(first, first + len(sequences)))
        rows.follow(follows)
    owner = torch.tensor(owners)
    cache.batch_select_indices(owner)
    rest = left_padded(model, [ids[prefixes[group] :] for ids, group in zip(sequences, owners, strict=True)], pad)
    mask = torch.cat([shared["attention_mask"][owner], rest["attention_mask"]], 1)
    positions = _positions(mask)[:, shared["attention_mask"].shape[1] :]
    output = run(
        input_ids=rest["input_ids"],
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    saved = sum(prefixes[group] for group in owners) - sum(prefixes)
    return Prefilled(output, cache, mask, sum(map(len, sequences)) - saved)


def is_cached_plainly(model: Any) -> bool:
    """Whether keys and values of earlier tokens are all that a decoder-only model remembers, and the caller's to keep.

    Other models, e.g. with recurrent states or quantized caches, are left to transformers.
    """
    inner = without_adapter(model)
    if inner.config.is_encoder_decoder or depends_on_neighbours(model):
        return False
    taken = inspect.signature(type(inner).forward).parameters
    kinds = {type(layer) for layer in DynamicCache(config=inner.config).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and {
        "input_ids",
        "attention_mask",
        "position_ids",
        "past_key_values",
        "logits_to_keep",
    } <= set(taken)


def left_padded(model: Any, sequences: Ids, pad: int) -> dict[str, Tensor]:
    """input_ids and attention_mask, [B, T] int64."""
    longest = max(map(len, sequences))
    ids = [[pad] * (longest - len(sequence)) + sequence for sequence in sequences]
    mask = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
    }


def depends_on_neighbours(model: Any) -> bool:
    """Whether the longest sequence of a batch decides how all are read: longrope has two sets of rotary factors."""
    return "longrope" in _rotary(model.config.get_text_config())


def _rotary(config: Any) -> str:
    return str(getattr(config, "rope_parameters", "")) + str(getattr(config, "rope_scaling", ""))


def positioned(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """With position_ids that count real tokens, as `generate` has them; a bare forward would count padding too."""
    return {**inputs, "position_ids": _positions(inputs["attention_mask"])}


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _may_share(
    model: Any, cache: DynamicCache, sequences: Ids, prefixes: Sequence[int], sizes: Sequence[int], new_tokens: int
) -> bool:
    """Whether a hole in the mask changes nothing, as far as is known of the model.

    Windows are counted in places, holes included: they must hold everything. Some rotary embeddings depend on the
    length of what is computed at once, and flash attention reads masks in its own way.
    """
    config = model.config.get_text_config()
    owners = [length for size, length in zip(sizes, prefixes, strict=True) for _ in range(size)]
    places = max(prefixes) + max(len(ids) - n for ids, n in zip(sequences, owners, strict=True)) + new_tokens
    windows = [layer.sliding_window for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
    if masks_windows_itself(config):
        windows.append(config.window_size)
    return (
        places < min(windows, default=places + 1)
        and getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
        and not getattr(config, "alibi", False)
        and "dynamic" not in _rotary(config)
    )
