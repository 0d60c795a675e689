"""Fixtures: tiny random models. torch is imported by the tests that use them only."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from harness.model.lm import HuggingFaceModel

# What the caller's shell has set is no part of a test: colours, proxies, accounts, caches, and GPUs, on which numbers
# and defaults are others.
_FOREIGN = ("WANDB_", "RAY_", "HARNESS_", "HF_", "TRANSFORMERS_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_FOREIGN += ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS", "NETRC")
for name in [name for name in os.environ if name.upper().startswith(_FOREIGN)]:
    del os.environ[name]
os.environ |= {"HF_HUB_OFFLINE": "1", "NO_PROXY": "localhost,127.0.0.1", "CUDA_VISIBLE_DEVICES": ""}
# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Keep what torch and its like are made of out of collections: cells and trainers collect, 0.3 s each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a tiny model of a kind ("llama", "mistral", "qwen2", "gpt2", "t5"), once, and gives its folder."""
    from tests.tiny_models import write_model

    root = tmp_path_factory.mktemp("models")

    def folder(kind: str) -> Path:
        path = root / kind
        return path if path.exists() else write_model(kind, path)

    return folder


@pytest.fixture(scope="session")
def tiny_lm(model_folder: Callable[[str], Path]) -> Callable[[str], HuggingFaceModel]:
    """Gives a tiny model of a kind to whoever asks, each time another copy of what is read once."""
    from harness.model.lm import load

    @cache
    def source(kind: str) -> HuggingFaceModel:
        lm = load(str(model_folder(kind)))
        lm.keep()
        return lm

    def fresh(kind: str) -> HuggingFaceModel:
        lm = source(kind).pristine()
        lm.limits = replace(lm.limits)  # where memory is short in one test, no other is to know
        return lm

    return fresh


@pytest.fixture(params=["llama", "mistral", "qwen2", "gpt2", "t5"])
def any_lm(request: pytest.FixtureRequest, tiny_lm: Callable[[str], HuggingFaceModel]) -> HuggingFaceModel:
    """One test per architecture."""
    return tiny_lm(request.param)


@pytest.fixture
def llama(tiny_lm: Callable[[str], HuggingFaceModel]) -> HuggingFaceModel:
    """The commonest architecture, where one is enough."""
    return tiny_lm("llama")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many of the faults planted by tests/gate were caught, and by what; the workers' reports are gathered here."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    planted = [value for report in reports for name, value in report.user_properties if name == "planted fault"]
    if planted:
        caught = sum(bool(kinds) for _, kinds in planted)
        terminalreporter.section(f"{caught} of {len(planted)} planted faults caught")
        for fault, kinds in planted:
            terminalreporter.write_line(f"{fault:<55} {kinds or 'NOT CAUGHT'}")
