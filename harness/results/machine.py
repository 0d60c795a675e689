"""The machine, as far as it can be known without torch."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

_DRIVER = Path("/proc/driver/nvidia")
_DEVICES = ("nvidia*", "nvidia-caps/*", "kfd", "dxg", "dri/*", "accel*")


def machine() -> dict[str, Any]:
    """Processor, the cores that this process may use, and memory."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerators() -> list[str] | None:
    """Device files and what drivers say of themselves; empty where there is none, None where nobody can tell.

    On macOS none that is taken unless it is named.
    """
    if sys.platform != "linux":
        return [] if sys.platform == "darwin" else None
    devices = [str(path) for pattern in _DEVICES for path in sorted(Path("/dev").glob(pattern))]
    said = [_DRIVER / "version", *sorted(_DRIVER.glob("gpus/*/information"))]
    return [*devices, *(path.read_text(errors="replace") for path in said if os.access(path, os.R_OK))]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
