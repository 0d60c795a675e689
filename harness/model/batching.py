"""Batches by what they hold in memory: padded tokens, not prompts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from harness.api import HarnessError

Groups = list[list[int]]


def default_tokens(device: torch.device) -> int:
    """Padded tokens of a batch, new ones included.

    A CPU is busy with a few thousand, and 16,384 are eight of the longest prompts of LaMP-3; an accelerator needs more
    to be busy, and runs out of memory where that is too much, which halves the number.
    """
    return 2**14 if device.type == "cpu" else 2**17


def prefill_tokens(device: torch.device) -> int:
    """Padded tokens of prompts that are read at once before they are decoded together.

    A CPU is as fast with a few hundred as with thousands, and less of them is padding.
    """
    return 2**9 if device.type == "cpu" else 2**17


@dataclass
class BatchLimits:
    """The most prompts (`rows`) and padded tokens at once. Both halve for good when the device runs out of memory."""

    rows: int
    tokens: int
    owner: str  # model and device, as an error names them

    def run_all(
        self,
        groups: Groups,
        lengths: Sequence[int],
        run: Callable[[list[int], list[int]], None],
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Call `run` with indices, and the sizes of the groups among them, until all had their turn, longest first.

        `lengths` are in tokens; `on_batch` is told how many are done. Raises HarnessError where one alone is too much.
        """
        left, done = longest_first(groups, lengths), 0
        while left:
            batch, later = next_batch(left, lengths, self.rows, self.tokens)
            indices = [index for group in batch for index in group]
            if not _fits(partial(run, indices, [len(group) for group in batch])):
                self._shrink(len(indices), max(lengths[index] for index in indices))
                continue
            left, done = later, done + len(indices)
            if on_batch is not None:
                on_batch(done)

    def _shrink(self, failed: int, longest: int) -> None:
        if failed == 1:
            raise HarnessError(
                f"{self.owner} runs out of memory with a single prompt. Use a smaller model, a shorter history, or a "
                "device with more memory."
            )
        self.rows = failed // 2
        self.tokens = min(self.tokens, self.rows * longest)
        torch.cuda.empty_cache()


def _fits(run: Callable[[], None]) -> bool:
    """Whether a batch ran. The error, and the tensors its traceback holds, are gone before anything is retried."""
    try:
        run()
    except torch.OutOfMemoryError:
        return False
    return True


def cut(sizes: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Neighbouring groups of `sizes` sequences together as long as they have at most so many tokens, padded."""
    parts: list[list[int]] = []
    start = longest = 0
    for size in sizes:
        longest_here = max(lengths[start : start + size])
        longest = max(longest, longest_here)
        if parts and (sum(parts[-1]) + size) * longest <= tokens:
            parts[-1].append(size)
        else:
            parts.append([size])
            longest = longest_here
        start += size
    return parts


def longest_first(groups: Groups, lengths: Sequence[int]) -> Groups:
    """Groups with their longest sequence in descending order, so that what runs out of memory does so early."""
    return sorted(groups, key=lambda group: -max(lengths[index] for index in group))


def next_batch(groups: Groups, lengths: Sequence[int], rows: int, tokens: int) -> tuple[Groups, Groups]:
    """The groups of one batch from the front, and what is left.

    At most `rows` sequences that, padded, have at most `tokens` tokens; one sequence at least. A group is split only
    where it does not fit by itself.
    """
    batch: Groups = []
    count = longest = 0
    for place, group in enumerate(groups):
        longest = max(longest, *(lengths[index] for index in group))
        room = max(1, min(rows, tokens // max(longest, 1)))
        if count + len(group) > room:
            if batch:
                return batch, groups[place:]
            left = [group[room:]] if group[room:] else []
            return [group[:room]], left + groups[1:]
        batch.append(group)
        count += len(group)
    return batch, []
