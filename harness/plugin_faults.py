"""What keeps a loaded object from being a plug-in of its kind, in words that follow "which ..."; "" if nothing does."""

from __future__ import annotations

from os import PathLike
from typing import Any

from harness.api import Method, Task


def method_fault(plugin: Any) -> str:
    """For methods and controls."""
    from pydantic import BaseModel  # heavier than `harness --help` may be

    if fault := _class_fault(plugin, Method):
        return fault
    config = getattr(plugin, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        return "has no Config that is a pydantic model"
    return ""


def task_fault(plugin: Any) -> str:
    """For tasks."""
    return _class_fault(plugin, Task)


def model_fault(plugin: Any) -> str:
    """For models."""
    leads_to_one = callable(getattr(plugin, "path", None))
    return "" if isinstance(plugin, str | PathLike) or leads_to_one else "is no path of a model's folder"


def recipe_fault(plugin: Any) -> str:
    """For training recipes."""
    return "" if callable(plugin) else "is no function that trains"


def command_fault(plugin: Any) -> str:
    """For commands."""
    import typer

    return "" if isinstance(plugin, typer.Typer) else "is no Typer app"


def cause(error: BaseException) -> str:
    """What was raised, on one line."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return (text if isinstance(error, ImportError) and text else f"{kind}: {text}" if text else kind).rstrip(".")


def _class_fault(plugin: Any, contract: type) -> str:
    if not (isinstance(plugin, type) and issubclass(plugin, contract)):
        return f"is no {contract.__name__}"
    missing = sorted(getattr(plugin, "__abstractmethods__", ()))
    return f"lacks {', '.join(missing)}" if missing else ""
