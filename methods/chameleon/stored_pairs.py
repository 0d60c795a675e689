"""Representations of pairs on disk, read a few groups and layers at a time: there may be more than memory holds.

One file per decoder layer, two rows per pair: personalized, then neutral. They hold what the model gave, to the bit, at
two bytes a number where it computes in bfloat16.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch

from harness.methods.chameleon.directions import Grouped
from harness.methods.chameleon.preference_pairs import Pairs

_READ_AT_ONCE = 2**20  # numbers; larger blocks are slower, and leave holes in the heap


class StoredPairs:
    """Appends pairs to files in `folder`, an empty one, and gives groups of them back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users: list[str] = []  # of each pair
        self.layers = self.size = 0
        self._dtype = torch.bfloat16  # until it would round

    def append(self, pairs: Pairs) -> None:
        """Write the pairs' representations, float32, behind those that are there."""
        both = torch.stack([pairs.personal, pairs.neutral], dim=2)  # [N, L, 2, d]
        if self._dtype == torch.bfloat16 and not torch.equal(both.bfloat16().float(), both):
            self._widen()
        self.layers, self.size = pairs.personal.shape[1:]
        for layer in range(self.layers):
            self._write(layer, both[:, layer])
        self.users += pairs.users

    def rows(self, layer: int, rows: Sequence[int]) -> torch.Tensor:
        """Representations [2, len(rows), d] at one layer, float32."""
        shape = (len(self.users), 2, self.size)
        mapped = torch.from_file(str(self._path(layer)), shared=False, size=prod(shape), dtype=self._dtype)
        return mapped.view(shape)[list(rows)].float().transpose(0, 1)

    def rows_at_once(self) -> int:
        """How many rows may be read without holding much memory."""
        return max(1, _READ_AT_ONCE // (2 * self.size))

    def _write(self, layer: int, both: torch.Tensor) -> None:
        with self._path(layer).open("ab") as file:
            both.to(self._dtype).contiguous().view(torch.uint8).numpy().tofile(file)

    def _widen(self) -> None:
        narrow = StoredPairs(self.folder)
        narrow.users, narrow.size = self.users, self.size
        self._dtype = torch.float32
        for layer in range(self.layers):
            for start in range(0, len(self.users), step := self.rows_at_once()):
                rows = range(start, min(start + step, len(self.users)))
                self._write(layer, narrow.rows(layer, rows).transpose(0, 1))
            narrow._path(layer).unlink()

    def _path(self, layer: int) -> Path:
        return self.folder / f"layer-{layer}.{self._dtype}"


class StoredGroups:
    """Groups of stored pairs, by their row numbers; `part` reads them as they are asked for, onto `device`."""

    def __init__(self, stored: StoredPairs, rows: Sequence[Sequence[int]], device: torch.device) -> None:
        self.stored, self.groups, self.device = stored, rows, device
        self.layers, self.size = stored.layers, stored.size
        self.counts = torch.tensor([len(own) for own in rows])

    def part(self, groups: slice, layers: Sequence[int]) -> Grouped:
        """The representations of some groups at some layers, padded to the largest of these groups."""
        own = self.groups[groups]
        mask = torch.arange(max(map(len, own))) < self.counts[groups][:, None]
        group, place = mask.nonzero(as_tuple=True)
        flat = [row for rows in own for row in rows]
        pairs = torch.zeros(2, len(own), len(layers), mask.shape[1], self.size, device=self.device)
        for number, layer in enumerate(layers):
            for start in range(0, len(flat), step := self.stored.rows_at_once()):
                some = slice(start, start + step)
                pairs[:, group[some], number, place[some]] = self.stored.rows(layer, flat[some]).to(self.device)
        return Grouped(pairs, mask.to(self.device))
