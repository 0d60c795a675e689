"""The record of what was fetched: size and sha256 of every file, in DIR/manifest.json."""

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api import HarnessError

NAME = "manifest.json"


class Entry(BaseModel):
    """One file; `size` in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The files by their path under the data directory, with "/"."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    files: dict[str, Entry] = Field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> "Manifest":
        """An empty one if there is none yet. Raises HarnessError for a file that is no manifest."""
        path = directory / NAME
        if not path.exists():
            return cls()
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise HarnessError(
                f"{path}: is not a manifest that `harness data fetch` wrote. Move it away, or name another --out."
            ) from error

    def save(self, directory: Path) -> None:
        """Write it whole or not at all."""
        part = directory / f"{NAME}.part"
        part.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        os.replace(part, directory / NAME)


def entry(path: Path, url: str) -> Entry:
    """Measure a file that came from `url`."""
    with path.open("rb") as file:
        return Entry(url=url, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
