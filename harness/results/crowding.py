"""Whether torch's threads fit beside what else the machine does."""

from __future__ import annotations

import os

import psutil
import torch

_SHARE = 1.5  # of the cores: from there on, waiting for a busy core costs more than another thread gains


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> float:
    """How many processes ran or waited for a core, on average over the last minute, this one included."""
    return psutil.getloadavg()[0]


def crowding(load: float, cores: int, threads: int) -> str:
    """What is wrong with so many torch threads under this load, and what to do; "" where they fit."""
    if threads <= 1 or load + threads < _SHARE * cores:
        return ""
    return (
        f"the load average is {load:.1f} on {cores} cores, and torch has {threads} threads: those that wait for a busy "
        "core hold up the others, which made decoding up to 35 times slower. Set OMP_NUM_THREADS=1 in the environment, "
        "or wait until the other work has ended."
    )


def crowding_here() -> str:
    """The same of this machine at this moment; "" where a GPU does the work."""
    if torch.cuda.is_available():
        return ""
    return crowding(load_average(), cores(), torch.get_num_threads())
