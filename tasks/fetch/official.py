"""Which files LaMP publishes, and where."""

from dataclasses import dataclass
from typing import Literal

from harness.api import HarnessError
from harness.tasks.lamp_layout import TIME
from harness.tasks.lamp_schema import SCHEMAS

# The links of https://lamp-benchmark.github.io/download (Salemi et al. 2024).
BASE_URL = "https://ciir.cs.umass.edu/downloads/LaMP"

Separation = Literal["user", "time"]
Split = Literal["train", "dev"]


@dataclass(frozen=True)
class RemoteFile:
    """A published file, and its place under the data directory, with "/"."""

    url: str
    path: str


def official_files(task: str, split: Split, separation: Separation, base_url: str = BASE_URL) -> list[RemoteFile]:
    """Questions and outputs of one split of a task. Raises HarnessError for a task that is not published."""
    if task not in SCHEMAS:
        raise HarnessError(f"There is no task '{task}'. Known: {', '.join(SCHEMAS)}.")
    schema = SCHEMAS[task]
    if schema.address is None:
        raise HarnessError(schema.how_to_get)
    top = f"{TIME}/" if separation == "time" else ""
    names = [f"{split}_{kind}.json" for kind in ("questions", "outputs")]
    address = f"{base_url.rstrip('/')}/{top}{schema.address}/{split}"
    return [RemoteFile(f"{address}/{name}", f"{top}{schema.folder}/{name}") for name in names]
