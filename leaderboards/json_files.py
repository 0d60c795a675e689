"""JSON files that are checked as they are read, and written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from harness.api import HarnessError

M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], path: Path, advice: str) -> M:
    """Parse a JSON file. Raises HarnessError naming file, field and fault, and then `advice`."""
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise HarnessError(f"There is no {path}. {advice}") from None
    except OSError as error:
        raise HarnessError(f"Cannot read {path}: {error.strerror}. {advice}") from error
    except ValidationError as error:
        raise HarnessError(f"{path} is not as it should be: {_first(error)}. {advice}") from error


def check(model: type[M], values: object, source: Path, advice: str) -> M:
    """`values` as a model. Raises HarnessError naming the source, the field and the fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise HarnessError(f"{source} cannot be used: {_first(error)}. {advice}") from error


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text by rename. Raises HarnessError if the place cannot be written."""
    if path.parent.exists() and not path.parent.is_dir():
        raise HarnessError(f"{path.parent} is a file; name a folder.")
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise HarnessError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _first(error: ValidationError) -> str:
    faults = error.errors()
    place = ".".join(str(part) for part in faults[0]["loc"]) or "the file"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{place}: {faults[0]['msg']}{more}"
