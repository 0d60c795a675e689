"""Answers end with the first line that says anything: only that line is read, and what follows would cost as much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria


class FirstLine:
    """Tells when generated tokens hold a line break after something that is no white space."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        # One place more, for tokens beyond: vocabularies are padded to round numbers, and a broken model writes such.
        self._breaks = torch.tensor([*("\n" in text for text in _pieces(tokenizer)), False])

    def ends(self, ids: list[int]) -> bool:
        """Whether the last of a row's new tokens completes its first line."""
        # A blank is judged in its context: single tokens may be parts of characters.
        return bool(self._breaks[min(ids[-1], len(self._breaks) - 1)]) and "\n" in self._decode(ids).lstrip()

    def cut(self, ids: list[int]) -> list[int]:
        """The tokens up to and including the one that completes the first line."""
        known = torch.tensor(ids, dtype=torch.long).clamp(max=len(self._breaks) - 1)
        marked = self._breaks[known].nonzero()[:, 0].tolist()
        return next((ids[: place + 1] for place in marked if self.ends(ids[: place + 1])), ids)

    def text(self, ids: list[int]) -> str:
        """The decoded tokens to the end of the first line that says anything, without its line break."""
        text = self._decode(ids)
        end = text.find("\n", len(text) - len(text.lstrip()))
        return text if end < 0 else text[:end]

    def criterion(self, start: int) -> StoppingCriteria:
        """The same for `generate`, whose rows hold their new tokens from `start` on."""
        return _Criterion(self, start)


class _Criterion(StoppingCriteria):
    def __init__(self, line: FirstLine, start: int) -> None:
        self._line = line
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Whether each row is done, [B] bool."""
        rows = input_ids[:, self._start :].tolist()
        return torch.tensor([self._line.ends(row) for row in rows], device=input_ids.device)


def _pieces(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each token by itself."""
    single = [[token] for token in range(len(tokenizer))]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return tokenizer.batch_decode(single) if backend is None else backend.decode_batch(single)
