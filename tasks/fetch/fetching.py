"""Fetching files into a directory: what is there is verified, what is missing is downloaded and recorded."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout
from requests import Session

from harness.api import HarnessError
from harness.tasks.fetch.download import Part, download, open_session
from harness.tasks.fetch.manifest import NAME, Entry, Manifest, entry
from harness.tasks.fetch.official import RemoteFile

_LOCK = ".fetch.lock"


class Listener(Protocol):
    """Is told how far each file is."""

    def progress(self, file: RemoteFile, done: int, total: int | None) -> None:
        """`done` of `total` bytes are there."""

    def finished(self, file: RemoteFile, found: Entry, how: Literal["downloaded", "verified"]) -> None:
        """The file is in its place, as the manifest has it."""


def fetch(directory: Path, files: Sequence[RemoteFile], listener: Listener, force: bool = False) -> None:
    """Bring `files` into `directory`; `force` downloads them whatever is there and whatever the manifest says.

    Raises HarnessError where a file cannot be had, where it is not the one that the manifest records, and for a path
    that a link leads out of `directory`. Files that are finished by then stay, recorded.
    """
    if directory.exists() and not directory.is_dir():
        raise HarnessError(f"{directory} is a file; name a folder.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _require_inside(directory, *(directory / name for name in (_LOCK, NAME, f"{NAME}.part")))
        with FileLock(directory / _LOCK, timeout=0), open_session() as session:
            manifest = Manifest.load(directory)
            for file in files:
                if force or not _verified(directory / file.path, file, manifest):
                    _download(session, directory, file, manifest, listener, force)
                    listener.finished(file, manifest.files[file.path], "downloaded")
                else:
                    listener.finished(file, manifest.files[file.path], "verified")
    except Timeout:
        raise HarnessError(f"{directory}: another `harness data fetch` is at work there.") from None
    except OSError as error:
        raise HarnessError(f"{directory}: cannot be written to: {error.strerror}") from error


def _verified(target: Path, file: RemoteFile, manifest: Manifest) -> bool:
    if not target.exists():
        return False
    known = manifest.files.get(file.path)
    if known is None:
        raise HarnessError(f"{target}: was not fetched, so it is left alone. Move it away, or replace it with --force.")
    found = entry(target, known.url)
    if found != known:
        raise HarnessError(f"{target}: was changed since it was fetched: {_differ(found, known)}. --force replaces it.")
    return True


def _download(
    session: Session, directory: Path, file: RemoteFile, manifest: Manifest, listener: Listener, force: bool
) -> None:
    part = Part(directory / file.path)
    _require_inside(directory, part.target, part.path, part.note)
    part.target.parent.mkdir(parents=True, exist_ok=True)
    if force:
        part.discard()
    download(session, file.url, part, lambda done, total: listener.progress(file, done, total))
    found, known = entry(part.path, file.url), manifest.files.get(file.path)
    if known is not None and found.sha256 != known.sha256 and not force:
        part.discard()
        raise HarnessError(
            f"{file.url}: is not the file that was fetched before: {_differ(found, known)}. --force takes the new one."
        )
    manifest.files[file.path] = found
    manifest.save(directory)  # first: a file that no manifest names would be taken for somebody else's
    os.replace(part.path, part.target)
    part.discard()


def _differ(found: Entry, known: Entry) -> str:
    return f"{found.size} bytes, sha256 {found.sha256[:16]}..., recorded {known.size} bytes, {known.sha256[:16]}..."


def _require_inside(directory: Path, *paths: Path) -> None:
    for path in paths:
        if not path.resolve().is_relative_to(directory.resolve()):
            raise HarnessError(f"{path}: a link leads out of {directory}, where nothing is written.")
