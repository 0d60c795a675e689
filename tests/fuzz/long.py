"""The long fuzz: `python -m tests.fuzz.long --inputs 100000 --seed 0`. Exit status 1 if a reader did anything else than
read its input or raise HarnessError, took longer than LIMIT seconds over one, or asked for more than ROOM bytes.

Input i of a seed is always the same one: `--only 17` repeats the 17th alone, with its traceback.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

from harness.api import HarnessError
from tests.fuzz.mutating import mutated
from tests.fuzz.readers import READERS

LIMIT = 10  # seconds for one input
ROOM = 2**31  # bytes beyond what the imports take
SLOW = ("sweep", "experiment")  # expand to whole runs: drawn a fifth as often as the others


def main() -> int:
    """Run, print a line per 10,000 inputs and the figures at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="Repeat this one input.")
    asked = parser.parse_args()
    _bound()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if asked.only is not None:
            name, content = _input(asked.seed, asked.only)
            print(name, content[:2000])
            print(READERS[name].read(Path(folder), content))
            return 0
        return _run(asked.inputs, asked.seed, Path(folder))


def _run(inputs: int, seed: int, folder: Path) -> int:
    ends: Counter[str] = Counter()
    begun, memory, slowest = time.perf_counter(), _memory(), (0.0, "", 0)
    for index in range(inputs):
        name, content = _input(seed, index)
        start = time.perf_counter()
        end = _end(name, folder, content)
        ends[end] += 1
        slowest = max(slowest, (time.perf_counter() - start, name, index))
        if end not in ("read", "refused"):
            print(f"input {index}, {name}: {end}", flush=True)
        if (index + 1) % 10_000 == 0:
            print(f"{index + 1} inputs, {time.perf_counter() - begun:.0f} s, {dict(ends)}", flush=True)
    grown = (_memory() - memory) / 2**20
    print(
        f"{inputs} inputs, seed {seed}: {ends['read']} read, {ends['refused']} refused with HarnessError, "
        f"{inputs - ends['read'] - ends['refused']} otherwise; {time.perf_counter() - begun:.0f} s, the slowest "
        f"{slowest[0]:.2f} s ({slowest[1]}, input {slowest[2]}); {grown:.0f} MiB of memory more than after the imports"
    )
    return int(ends["read"] + ends["refused"] < inputs)


def _input(seed: int, index: int) -> tuple[str, bytes]:
    random = Random(f"{seed} {index}")
    weights = [1 if name in SLOW else 2 if name.startswith("lamp") else 5 for name in READERS]
    [name] = random.choices(list(READERS), weights)
    return name, mutated(random.choice(READERS[name].valid), random)


def _end(name: str, folder: Path, content: bytes) -> str:
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        READERS[name].read(folder, content)
    except HarnessError:
        return "refused"
    except Exception as error:  # what the search is for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "read"


def _bound() -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {LIMIT} s")

    signal.signal(signal.SIGALRM, stop)
    for reader in READERS.values():  # what they import while they read is no input's doing
        with tempfile.TemporaryDirectory() as folder:
            for content in reader.valid:
                reader.read(Path(folder), content)
    status = Path("/proc/self/statm")
    if status.exists():
        taken = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, resource.RLIM_INFINITY))


def _memory() -> int:
    """The most that the process has held so far, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
