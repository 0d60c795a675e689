"""What pydantic found wrong with something a user wrote, in sentences that name the nearest right key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from harness.registry import unknown

_LONGEST = 200  # characters of a value


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """A sentence per fault: an unknown key brings the known ones of the model it stands in."""
    problems = []
    for fault in error.errors():
        *path, last = fault["loc"] or ("",)
        if fault["type"] == "extra_forbidden":
            problems.append(_unknown(str(last), _at(path, model).model_fields))
        else:
            key = ".".join(str(part) for part in fault["loc"])
            said = fault["msg"].removeprefix("Value error, ")  # of our own validators
            problems.append(f"{key + ': ' if key else ''}{said}{_got(fault['input'])}.")
    return " ".join(problems)


def _unknown(key: str, known: Collection[str]) -> str:
    group, dot, inner = key.partition(".")
    if dot and group in known:
        return f"Unknown key '{key}'. What {group} holds is given as a whole: {group}={{\"{inner}\": ...}}."
    return unknown("key", key, known)


def _got(value: Any) -> str:
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return ""  # nothing that anybody wrote
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        text = "a number too large to print"
    return f" (got {text if len(text) <= _LONGEST else f'{text[:_LONGEST]} ...'})"


def _at(path: list[Any], model: type[BaseModel]) -> type[BaseModel]:
    """The model that holds what stands at `path`; keys of mappings and numbers of lists change no model."""
    for part in path:
        if part in model.model_fields:
            model = next(_models(model.model_fields[part].annotation), model)
    return model


def _models(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
