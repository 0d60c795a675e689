"""One file over HTTP, continued where it broke off.

A partial download is `NAME.part`, with a note `NAME.part.json` of the address and version (ETag or Last-Modified) that
it is part of. It is continued by a Range request with If-Range: a server answers with the rest only if the file is the
same still, and with all of it if the file changed or if the server knows no ranges (RFC 9110, 13.1.5 and 14).
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from harness.api import HarnessError

CHUNK = 1 << 20  # bytes
ATTEMPTS = 5  # in a row without getting further
BACKOFF = 0.5  # seconds before the second attempt, doubled for each one after
TIMEOUT = (20, 60)  # seconds to connect, and without a byte

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class _BrokenError(Exception):
    """The transfer ended early; another attempt may get further."""


@dataclass(frozen=True)
class Part:
    """The unfinished download of a file."""

    target: Path

    @property
    def path(self) -> Path:
        """The bytes so far."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        """What they are part of."""
        return self.target.with_name(f"{self.target.name}.part.json")

    def version(self, url: str) -> str:
        """The version of `url` that the bytes are part of; "" if they are of no use."""
        try:
            note = json.loads(self.note.read_bytes())
        except (OSError, ValueError):
            return ""
        known = isinstance(note, dict) and note.get("url") == url and isinstance(note.get("version"), str)
        return str(note["version"]) if known and self.size else ""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin(self, url: str, version: str) -> None:
        """Start over."""
        self.discard()
        self.note.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")

    def discard(self) -> None:
        """Forget the bytes so far."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def open_session() -> requests.Session:
    """A session that asks again, with growing pauses, where a server cannot be reached or is overloaded."""
    session = requests.Session()
    retry = Retry(ATTEMPTS, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), retry_after_max=60)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    session.headers["Accept-Encoding"] = "identity"  # ranges count the bytes of the file, not of a compressed copy
    return session


def download(session: requests.Session, url: str, part: Part, progress: Progress) -> None:
    """Complete `part`, the download of `url`; its target is left alone.

    Raises HarnessError where the server has no such file, sends something other than JSON, or cannot be reached; what
    was received stays for the next call.
    """
    furthest, failures = 0, 0
    while True:
        try:
            return _attempt(session, url, part, progress)
        except _BrokenError as error:
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= ATTEMPTS:
                raise HarnessError(
                    f"{url}: broke off at byte {part.size}: {error}. Repeat the command to go on."
                ) from None
            time.sleep(BACKOFF * 2 ** (failures - 1))


def _attempt(session: requests.Session, url: str, part: Part, progress: Progress) -> None:
    version = part.version(url)
    offset = part.size if version else 0
    with _get(session, url, {"Range": f"bytes={offset}-", "If-Range": version} if offset else {}) as response:
        total = _length(response)
        if response.status_code == 206 and (_start(response) != offset or _version(response) not in ("", version)):
            part.discard()  # a server that pays no heed to If-Range
            raise _BrokenError("the server sent another part than was asked for")
        if response.status_code == 200:
            offset = 0
            part.begin(url, _version(response))
        received = offset
        try:
            with part.path.open("ab") as file:
                # read1 hands over what has arrived; iter_content would lose up to a chunk where the server breaks off.
                while chunk := response.raw.read1(CHUNK):
                    if not received:
                        _require_json(url, response, chunk)
                    file.write(chunk)
                    received += len(chunk)
                    progress(received, None if total is None else offset + total)
        except HTTPError as error:
            raise _BrokenError(type(error).__name__) from error
    if not received:
        raise HarnessError(f"{url}: the server sent an empty file.")


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    try:
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise HarnessError(f"{url}: cannot be reached: {error}") from error
    if response.status_code == 416 and headers:  # the partial file is longer than the file
        response.close()
        return _get(session, url, {})
    if response.status_code not in (200, 206):
        response.close()
        raise HarnessError(
            f"{url}: the server answers {response.status_code} {response.reason}. "
            "If the files have moved, name their new address with --base-url."
        )
    return response


def _require_json(url: str, response: requests.Response, beginning: bytes) -> None:
    # LaMP's server answers a wrong address with a page and status 200.
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"[", b"{"):
        kind = response.headers.get("Content-Type", "something of unknown type")
        raise HarnessError(f"{url}: the server sends {kind}, not a JSON file. Is --base-url right?")


def _version(response: requests.Response) -> str:
    """What If-Range accepts: a strong ETag, else the date of the last change; "" for neither."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _start(response: requests.Response) -> int:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1
