"""Where a result was made: hardware, versions, git state and memory."""

from __future__ import annotations

import platform
import subprocess
import threading
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch

from harness.results.machine import machine

PACKAGES = (
    "personalization-harness",
    "torch",
    "transformers",
    "trl",
    "peft",
    "lm-eval",
    "datasets",
    "sentence-transformers",
    "scikit-learn",
    "rouge-score",
)
_SAMPLING = 0.05  # seconds between two looks at the memory in use


def hardware(device: str) -> dict[str, Any]:
    """What timings depend on: processor, cores and memory, and the accelerator in use."""
    found = {"device": device, **machine(), "torch_threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        found["accelerator"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """Installed versions of what a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_state() -> dict[str, Any]:
    """Commit and dirtiness of the harness's own checkout; empty if it was installed without one."""
    folder = Path(__file__).resolve().parents[1]
    run = {"cwd": folder, "capture_output": True, "text": True, "timeout": 10}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run)  # type: ignore[call-overload]
        changes = subprocess.run(["git", "status", "--porcelain", "--", str(folder.parent)], **run)  # type: ignore[call-overload]
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if commit.returncode or not (folder.parent / "pyproject.toml").exists():
        return {}
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}


class PeakMemory:
    """Highest memory in use inside the block, in bytes: sampled resident memory, or the accelerator's own count."""

    def __init__(self, device: str) -> None:
        self.bytes = 0
        self._device = device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._device.startswith("cuda"):
            self._done.set()
            self._thread.join()
        self.bytes = self.so_far()

    def so_far(self) -> int:
        """The highest until now, from inside the block."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.startswith("cuda") else self.bytes

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            ended = self._done.is_set()  # asked before: the last sample is of what the block holds at its end
            self.bytes = max(self.bytes, process.memory_info().rss)
            if ended:
                return
            self._done.wait(_SAMPLING)
