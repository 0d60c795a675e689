"""Greedy decoding of decoder-only models: prompts that begin alike are read once, and finished rows leave the batch.

Prompts are read a few at a time, as padding costs more than small batches save, and decoded together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from harness.model.architectures import masks_windows_itself, without_adapter
from harness.model.batching import cut, prefill_tokens
from harness.model.editing import EditedRows
from harness.model.first_line import FirstLine
from harness.model.kv_cache import joined, may_be_joined
from harness.model.prefill import Ids, Prefilled, is_cached_plainly, prefill
from harness.model.recorded_states import Recording
from harness.model.scoring import Candidates

# Settings of `generate` that do not matter to greedy decoding, or that the caller decides.
_INDIFFERENT = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "use_cache", "num_beams"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("transformers_version", "_from_model_config"),
}
_WITHOUT_EFFECT = {
    *(("repetition_penalty", 1.0), ("length_penalty", 1.0), ("num_return_sequences", 1)),
    *(("min_length", 0), ("no_repeat_ngram_size", 0)),
}


@dataclass(frozen=True)
class Stop:
    """When a row is done: at a token in `ends`, with its first line if `line`, after `max_new_tokens`."""

    max_new_tokens: int
    ends: list[int]
    line: FirstLine | None = None

    def done(self, ids: list[int]) -> bool:
        """Whether the last of a row's new tokens completes it."""
        ended = ids[-1] in self.ends or (self.line is not None and self.line.ends(ids))
        return ended or len(ids) >= self.max_new_tokens


def decodes(model: Any) -> bool:
    """Whether `decode` gives what transformers' `generate` gives; it knows no penalties, suppressed tokens and such."""
    stated = model.generation_config.to_diff_dict().items()
    settings = [
        (key, value) for key, value in stated if key not in _INDIFFERENT and value is not None and value is not False
    ]
    return is_cached_plainly(model) and all(
        isinstance(value, int | float) and (key, value) in _WITHOUT_EFFECT for key, value in settings
    )


def may_score(model: Any) -> bool:
    """Whether `decode` scores candidates: it takes back what the caches have read, which sliding windows forget."""
    config = without_adapter(model).config
    return decodes(model) and may_be_joined(DynamicCache(config=config)) and not masks_windows_itself(config)


def decode(
    model: Any,
    prompts: Ids,
    sizes: Sequence[int],
    stop: Stop,
    pad_id: int,
    rows: EditedRows,
    recording: Recording | None = None,
    candidates: Candidates | None = None,
) -> tuple[list[list[int]], int]:
    """Greedy new tokens of each prompt, the one that ends it included, and how many tokens went through the model.

    `sizes` of the prompts in turn begin alike; the edits of `rows` are open on the model. `candidates` are scored once
    the prompts are read, for models that `may_score`.
    """
    with nullcontext() if recording is None else recording.on(model):
        states = _read(model, prompts, sizes, stop, pad_id, rows, recording)
        batch = _Batch(model, states, max(stop.max_new_tokens, candidates.longest if candidates else 0), rows)
        if candidates is not None:
            batch.score(candidates, [ids[-1] for ids in prompts], pad_id)
        while True:
            batch.append_likeliest()
            going = [row for row in batch.alive if not stop.done(batch.found[row])]
            if recording is not None:
                recording.finish({row: batch.found[row] for row in batch.alive if row not in going})
            if not going:
                break
            batch.feed(going)
            if recording is not None:
                recording.saw(batch.alive)
                recording.passed()
        if recording is not None and (late := [row for row in batch.alive if recording.lacks(row, batch.found[row])]):
            batch.feed(late)
            recording.saw(batch.alive)
            recording.passed()
            recording.finish({row: batch.found[row] for row in late})
    return batch.found, batch.computed


def _read(
    model: Any,
    prompts: Ids,
    sizes: Sequence[int],
    stop: Stop,
    pad_id: int,
    rows: EditedRows,
    recording: Recording | None,
) -> list[Prefilled]:
    """Prefill the prompts, a few of the groups that begin alike at a time where their caches can be joined."""
    run = partial(model, logits_to_keep=1)
    apart = may_be_joined(DynamicCache(config=without_adapter(model).config))
    found: list[Prefilled] = []
    for part in cut(sizes, [len(ids) for ids in prompts], prefill_tokens(model.device)) if apart else [sizes]:
        start = sum(len(state.mask) for state in found)
        places = range(start, start + sum(part))
        some = [prompts[place] for place in places]
        limits = [len(ids) - 1 for ids in some]
        found.append(prefill(model, run, some, limits, part, pad_id, rows, stop.max_new_tokens, start))
        if recording is not None:
            recording.saw(places)
    if recording is not None:
        recording.passed()
    return found


class _Batch:
    """The rows that are still decoded, `alive`, and the new tokens of all."""

    def __init__(self, model: Any, states: Sequence[Prefilled], room: int, rows: EditedRows) -> None:
        longest = max(state.mask.shape[1] for state in states)
        self._model = model
        self._rows = rows
        self._logits = torch.cat([state.output.logits for state in states])
        self._mask = torch.cat([pad(state.mask, (longest - state.mask.shape[1], 0)) for state in states])
        self._cache = joined([state.cache for state in states], room)
        self.computed = sum(state.computed for state in states)
        self.alive = list(range(len(self._mask)))
        rows.keep(self.alive)
        self.found: list[list[int]] = [[] for _ in self.alive]

    def append_likeliest(self) -> None:
        """The next token of every row that is alive."""
        for row, token in zip(self.alive, likeliest(self._logits).tolist(), strict=True):
            self.found[row].append(token)

    def score(self, candidates: Candidates, last: list[int], pad_id: int) -> None:
        """Score answers to the prompts, which end with `last` and of which no new token is known yet."""
        self.computed += candidates.score(self._model, self._logits, self._mask, self._cache, last, pad_id, self._rows)

    def feed(self, rows: list[int]) -> None:
        """Let all other rows go, and put the last tokens of these through the model."""
        if len(rows) < len(self.alive):
            order = _fewest_moved(self.alive, rows)
            places = torch.tensor([self.alive.index(row) for row in order])
            self._cache.batch_select_indices(places)
            self._mask = self._mask[places.to(self._mask.device)]
            self._rows.keep(order)
            self.alive = order
        self._rows.follow(1)
        device = self._mask.device
        tokens = torch.tensor([[self.found[row][-1]] for row in self.alive], device=device)
        positions = self._mask.sum(1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(tokens)], 1)
        self._logits = self._model(
            input_ids=tokens,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        self.computed += len(self.alive)


def _fewest_moved(alive: list[int], rows: list[int]) -> list[int]:
    """`rows`, some of those alive, in the order that leaves most of them at their places and fills the holes."""
    staying = set(rows)
    moving = [row for row in alive[len(rows) :] if row in staying]
    return [row if row in staying else moving.pop() for row in alive[: len(rows)]]


def likeliest(logits: Tensor) -> Tensor:
    """The token after the last position of each row, [B], from logits [B, T, V]."""
    return logits[:, -1].argmax(-1)
