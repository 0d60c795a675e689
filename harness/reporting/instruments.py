"""What to say of models that are test instruments."""

from __future__ import annotations

from collections.abc import Iterable

from harness.formatting import listed
from harness.registry import is_instrument


def instruments(models: Iterable[str]) -> list[str]:
    """Those of the models that are test instruments, each once."""
    return [model for model in dict.fromkeys(models) if is_instrument(model)]


def with_instruments(models: Iterable[str]) -> str:
    """How small print names them: `with tiny-llama, a test instrument`; empty where there are none."""
    found = instruments(models)
    return f"with {listed(found)}, {'a test instrument' if len(found) == 1 else 'test instruments'}" if found else ""
