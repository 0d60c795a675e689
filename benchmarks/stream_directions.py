"""Memory and time of directions from more pairs than memory holds: noise in place of a model.

python benchmarks/stream_directions.py --users 10000 --pairs 10 --layers 32 --size 4096 --epochs 2 [--individual]

The files need 4 bytes x users x pairs x layers x size on the disk of FOLDER: noise is rounded like the states of a
model in bfloat16. Epochs cost time and no memory, and layers are taken one after the other where all users share a
direction, so that few of either show what many would need.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import torch

from harness.api import Edits
from harness.methods.chameleon.ccs import CcsConfig
from harness.methods.chameleon.directions import find_directions
from harness.methods.chameleon.preference_pairs import Pairs
from harness.methods.chameleon.steering import Steering
from harness.methods.chameleon.stored_pairs import StoredGroups, StoredPairs

BATCH = 32
GIB = 2**30


def memory(name: str) -> float:
    """GiB of this process: VmHWM is the peak of all, RssAnon what is not a mapped file, now."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found, f"this system does not tell {name}"
    return int(found[1]) * 1024 / GIB


def store(folder: Path, users: int, pairs: int, layers: int, size: int) -> StoredPairs:
    """A round of every user's first pair, then of their second, ..., as a fit collects them."""
    stored, generator = StoredPairs(folder), torch.Generator().manual_seed(0)
    names = [f"user-{number}" for _ in range(pairs) for number in range(users)]
    for start in range(0, len(names), BATCH):
        some = tuple(names[start : start + BATCH])
        personal, neutral = torch.randn(2, len(some), layers, size, generator=generator)
        personal[..., 0] += 2.0
        stored.append(Pairs(some, personal.bfloat16().float(), neutral.bfloat16().float()))
    return stored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("users", 10_000), ("pairs", 10), ("layers", 2), ("size", 4096), ("epochs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--individual", action="store_true", help="a direction and layers for each user")
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        pairs_folder, fit_folder = Path(place) / "pairs", Path(place) / "fit"
        pairs_folder.mkdir()
        fit_folder.mkdir()
        print(f"libraries alone: {memory('VmHWM'):.2f} GiB", flush=True)
        begun = time.monotonic()
        stored = store(pairs_folder, asked.users, asked.pairs, asked.layers, asked.size)
        written = sum(path.stat().st_size for path in pairs_folder.iterdir()) / GIB
        took = time.monotonic() - begun
        print(f"{written:.1f} GiB written in {took:.0f} s, peak {memory('VmHWM'):.2f} GiB", flush=True)
        rounds = range(asked.pairs)
        rows = [[user + turn * asked.users for turn in rounds] for user in range(asked.users)]
        groups = rows if asked.individual else [[row for own in rows for row in own]]
        begun = time.monotonic()
        source = StoredGroups(stored, groups, torch.device("cpu"))
        ccs = CcsConfig(epochs=asked.epochs)
        found = find_directions(source, "hybrid", ccs, 0, 2, layers_per_group=asked.individual)
        print(f"directions in {time.monotonic() - begun:.0f} s, peak {memory('VmHWM'):.2f} GiB", flush=True)
        banks = Edits(found.layers, (), found.personal, found.neutral, places=found.places)
        Steering(None, banks, {}).save(fit_folder)
        saved = sum(path.stat().st_size for path in fit_folder.iterdir()) / GIB
        print(f"{saved:.2f} GiB saved, peak {memory('VmHWM'):.2f} GiB", flush=True)
        del banks, found
        before = memory("RssAnon")
        loaded = Steering.load(fit_folder, None).banks
        rows_read = loaded.neutral[torch.arange(0, len(groups), max(1, len(groups) // 32))]
        print(f"loaded, {len(rows_read)} rows read: {memory('RssAnon') - before:.2f} GiB more in memory", flush=True)


if __name__ == "__main__":
    main()
