"""A real HTTP server on this machine, with the faults that real ones have."""

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has and how it behaves; `requests` are the paths and headers it has seen."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True  # answers Range requests
    if_range: bool = True  # and heeds If-Range
    versions: bool = True  # sends ETag
    dies_after: list[int] = field(default_factory=list)  # bytes of the body, for the next answers in turn
    busy: int = 0  # answers 503 so many times
    kind: str = "application/json"
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def ranges_asked(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]


class Server(ThreadingHTTPServer):
    """Serves a site in a thread for the length of a `with`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = Site(url=f"http://127.0.0.1:{self.server_port}")

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing about clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = self.server.site
        site.requests.append((self.path, dict(self.headers)))
        body = site.files.get(self.path)
        if site.busy:
            site.busy -= 1
            self._answer(503, b"")
        elif body is None:
            self._answer(404, b"no such file")
        else:
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            start = self._start(tag)
            headers = {"ETag": tag} if site.versions else {}
            if start is None:
                self._answer(200, body, headers)
            elif start >= len(body):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            else:
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                self._answer(206, body[start:], headers)

    def _start(self, tag: str) -> int | None:
        site, asked = self.server.site, self.headers.get("Range")
        if not asked or not site.ranges or (site.if_range and self.headers.get("If-Range") != tag):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        site = self.server.site
        self.send_response(status)
        for name, value in {"Content-Type": site.kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = site.dies_after.pop(0) if site.dies_after and status in (200, 206) else len(body)
        self.wfile.write(body[:sent])
        if sent < len(body):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
