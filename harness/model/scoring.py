"""Log-likelihoods of given answers from the keys and values of prompts that were read to be answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from harness.model.editing import EditedRows
from harness.model.exact_logits import exact_logits, rounds_logits
from harness.model.prefill import Ids

_IGNORED = -100  # what `cross_entropy` takes no account of


class Candidates:
    """The answers to score of each prompt, as tokens with their ends, and what was found.

    `totals`: the sum of log p over each answer's tokens, in nats, float32 on the CPU, by prompt. `seconds` of all.
    """

    def __init__(self, answers: Sequence[Ids]) -> None:
        self.answers = answers
        self.totals = [torch.zeros(len(of_one)) for of_one in answers]
        self.seconds = 0.0

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max((len(answer) for of_one in self.answers for answer in of_one), default=0)

    def of(self, places: Sequence[int]) -> Candidates:
        """Those of the prompts at these places."""
        return Candidates([self.answers[place] for place in places])

    def put(self, places: Sequence[int], part: Candidates) -> None:
        """Keep what was found for the prompts at these places."""
        self.seconds += part.seconds
        for place, totals in zip(places, part.totals, strict=True):
            self.totals[place] = totals

    def score(
        self, model: Any, logits: Tensor, mask: Tensor, cache: DynamicCache, last: list[int], pad: int, rows: EditedRows
    ) -> int:
        """Go on from prompts whose last logits [B, 1, V], mask [B, T] and cache are given; the cache is as it was then.

        Every prompt's first answer is passed at once, then every prompt's second, and so on. Where `logits` are rounded
        (`rounds_logits`), the prompts' `last` tokens are passed once more before each answer. Returns how many tokens
        were computed.
        """
        if mask.is_cuda:  # reading the prompts is queued, and no part of what is timed here
            torch.cuda.synchronize(mask.device)
        begun, read, computed = time.monotonic(), mask.shape[1], 0
        again = rounds_logits(model)
        if again:
            mask = mask.clone()
            mask[:, -1] = 0  # what the cache has of them stays, unseen, for the answers that are to be written
        for turn in range(max(map(len, self.answers), default=0)):
            answers = [of_one[turn] if turn < len(of_one) else [] for of_one in self.answers]
            # The last token of an answer is looked up, and nothing is asked after it.
            passed = [answer[:-1] for answer in answers]
            rows.follow(max(map(len, passed)))
            if again:
                passed = [[token, *ids] for token, ids in zip(last, passed, strict=True)]
            known = _continued(model, passed, mask, cache, pad)
            computed += sum(map(len, passed))
            cache.crop(read - cache.get_seq_length())
            found = _log_p(torch.cat(known if again else [logits, *known], 1), answers).cpu()
            for place, of_one in enumerate(self.answers):
                if turn < len(of_one):
                    self.totals[place][turn] = found[place]
        self.seconds += time.monotonic() - begun
        return computed


def _continued(model: Any, tokens: Ids, mask: Tensor, cache: DynamicCache, pad: int) -> list[Tensor]:
    """The logits after each of `tokens`, [B, t, V]; nothing where there are none. Padded on the right."""
    width = max(map(len, tokens))
    if not width:
        return []
    device = mask.device
    real = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in tokens], device=device)
    with exact_logits(model):
        output = model(
            input_ids=torch.tensor([ids + [pad] * (width - len(ids)) for ids in tokens], device=device),
            attention_mask=torch.cat([mask, real], 1),
            position_ids=mask.sum(1, keepdim=True) + (real.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        )
    return [output.logits]


def _log_p(logits: Tensor, answers: Ids) -> Tensor:
    """Sum of log p over the tokens of each answer, [B] float32, from logits [B, t, V]; 0 for none."""
    width = logits.shape[1]
    targets = torch.tensor([ids + [_IGNORED] * (width - len(ids)) for ids in answers], device=logits.device)
    nats = cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="none")
    return -nats.reshape(targets.shape).sum(1)
