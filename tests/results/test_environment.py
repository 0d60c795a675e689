"""The memory that a block of work is said to have needed."""

from contextlib import suppress

import numpy as np
import psutil

from harness.results.environment import PeakMemory

SIZE = 256 * 2**20


def test_the_peak_holds_what_a_block_allocates():
    before = psutil.Process().memory_info().rss
    with PeakMemory("cpu") as peak:
        held = np.ones(SIZE, dtype=np.uint8)
    assert peak.bytes - before >= 0.9 * held.nbytes


def test_what_a_failing_block_had_allocated_counts_too():
    before = psutil.Process().memory_info().rss
    peak = PeakMemory("cpu")
    with suppress(RuntimeError), peak:
        held = np.ones(SIZE, dtype=np.uint8)
        raise RuntimeError
    assert peak.bytes - before >= 0.9 * held.nbytes
