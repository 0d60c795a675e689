"""Greedy decoding of decoder-only models: prompts that begin alike are read once, and finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.api import OutOfTime
from harness.model.architectures import mlp_modules
from harness.model.editing import EditedRows
from harness.model.first_line import FirstLine
from harness.model.prefill import Ids, Prefilled, is_cached_plainly, prefill
from harness.model.recorded_states import Recording

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
    """When a row is done: at a token in `ends`, with its first line if `line`, after `max_new_tokens`.

    OutOfTime is raised once `time_left()`, asked after every token, is 0.
    """

    max_new_tokens: int
    ends: list[int]
    line: FirstLine | None = None
    time_left: Callable[[], float] | None = None

    def done(self, ids: list[int]) -> bool:
        """Whether the last of a row's new tokens completes it."""
        ended = ids[-1] in self.ends or (self.line is not None and self.line.ends(ids))
        return ended or len(ids) >= self.max_new_tokens

    def check_time(self) -> None:
        """Raises OutOfTime."""
        if self.time_left is not None and self.time_left() <= 0:
            raise OutOfTime


def decodes(model: Any) -> bool:
    """Whether `decode` gives what transformers' `generate` gives; it knows no penalties, suppressed tokens and such."""
    stated = model.generation_config.to_diff_dict().items()
    settings = [
        (key, value) for key, value in stated if key not in _INDIFFERENT and value is not None and value is not False
    ]
    return is_cached_plainly(model) and all(
        isinstance(value, int | float) and (key, value) in _WITHOUT_EFFECT for key, value in settings
    )


def decode(
    model: Any,
    prompts: Ids,
    sizes: Sequence[int],
    stop: Stop,
    pad: int,
    rows: EditedRows,
    recording: Recording | None = None,
) -> tuple[list[list[int]], int]:
    """Greedy new tokens of each prompt, the one that ends it included, and how many tokens went through the model.

    `sizes` of the prompts in turn begin alike; the edits of `rows` are open on the model.
    """
    with nullcontext() if recording is None else recording.on(mlp_modules(model)):
        limits = [len(ids) - 1 for ids in prompts]
        run = partial(model, logits_to_keep=1)
        batch = _Batch(model, prefill(model, run, prompts, limits, sizes, pad, rows, stop.max_new_tokens), rows)
        if recording is not None:
            recording.passed(batch.alive)
        while True:
            batch.append_likeliest()
            stop.check_time()
            going = [row for row in batch.alive if not stop.done(batch.found[row])]
            if recording is not None:
                recording.finish({row: batch.found[row] for row in batch.alive if row not in going})
            if not going:
                break
            batch.feed(going)
            if recording is not None:
                recording.passed(going)
        if recording is not None and (late := [row for row in batch.alive if recording.lacks(row, batch.found[row])]):
            batch.feed(late)
            recording.passed(late)
            recording.finish({row: batch.found[row] for row in late})
    return batch.found, batch.computed


class _Batch:
    """The rows that are still decoded, `alive`, and the new tokens of all."""

    def __init__(self, model: Any, state: Prefilled, rows: EditedRows) -> None:
        self._model = model
        self._rows = rows
        self._logits = state.output.logits
        self._cache = state.cache
        self._mask = state.mask
        self.computed = state.computed
        self.alive = list(range(len(state.mask)))
        self.found: list[list[int]] = [[] for _ in self.alive]

    def append_likeliest(self) -> None:
        """The next token of every row that is alive."""
        for row, token in zip(self.alive, likeliest(self._logits).tolist(), strict=True):
            self.found[row].append(token)

    def feed(self, rows: list[int]) -> None:
        """Let all other rows go, and put the last tokens of these through the model."""
        if len(rows) < len(self.alive):
            places = torch.tensor([self.alive.index(row) for row in rows])
            self._cache.batch_select_indices(places)
            self._mask = self._mask[places.to(self._mask.device)]
            self._rows.keep(rows)
            self.alive = rows
        device = self._mask.device
        tokens = torch.tensor([[self.found[row][-1]] for row in rows], device=device)
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
        self.computed += len(rows)


def likeliest(logits: Tensor) -> Tensor:
    """The token after the last position of each row, [B], from logits [B, T, V]."""
    return logits[:, -1].argmax(-1)
