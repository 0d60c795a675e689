"""One file, fetched from the server of `serving`, and what the caller is told meanwhile."""

import json
from pathlib import Path

from harness.tasks.fetch.fetching import fetch
from harness.tasks.fetch.manifest import Entry
from harness.tasks.fetch.official import RemoteFile
from tests.tasks.serving import Site

BODY = json.dumps([{"id": str(number)} for number in range(2000)]).encode()
OTHER = BODY.replace(b"1", b"2")
PATH = "LaMP_3/dev_questions.json"


class Log:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.done: list[tuple[str, str]] = []

    def progress(self, file: RemoteFile, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def finished(self, file: RemoteFile, found: Entry, how: str) -> None:
        self.done.append((file.path, how))


def get(site: Site, directory: Path, force: bool = False) -> Log:
    """Fetch `/q` of the site into `PATH` of a directory."""
    log = Log()
    fetch(directory, [RemoteFile(f"{site.url}/q", PATH)], log, force)
    return log


def names(directory: Path) -> list[str]:
    """Every file below a directory."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
