"""Banks of directions as a safetensors file, written a few groups at a time.

`safetensors.torch.save_file` needs a whole bank in memory, twice; that of 10,000 users who choose their own layers is
mostly zeros, and may be larger than memory. Reading is left to the library, which maps the file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

_AT_ONCE = 2**24  # numbers


@dataclass(frozen=True)
class Bank:
    """A float32 tensor of `shape`, whose first axis is groups: `rows` gives some of them."""

    shape: tuple[int, ...]
    rows: Callable[[slice], torch.Tensor]


def write_banks(banks: Mapping[str, Bank], path: Path) -> None:
    """Write a safetensors file: the header's length in 8 bytes, the header in JSON, padded to 8 bytes, the numbers."""
    header, end = {}, 0
    for name, bank in banks.items():
        begun, end = end, end + 4 * prod(bank.shape)
        header[name] = {"dtype": "F32", "shape": bank.shape, "data_offsets": [begun, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for bank in banks.values():
            step = max(1, _AT_ONCE // prod(bank.shape[1:]))
            for start in range(0, bank.shape[0], step):
                bank.rows(slice(start, start + step)).float().contiguous().numpy().tofile(file)
