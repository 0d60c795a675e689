"""The site on localhost, with the standard library's server."""

from __future__ import annotations

import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import typer

from harness.api import HarnessError
from harness.leaderboards.site import build


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line per request hides the address."""


def serve(records: Path, out: Path | None, port: int) -> None:
    """Build into `out`, or a folder that goes away, and serve until Ctrl-C. A taken port is a HarnessError."""
    with tempfile.TemporaryDirectory(prefix="leaderboard-") as scratch:
        folder = out or Path(scratch)
        build(records, folder)
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))
        except OSError as error:
            raise HarnessError(f"Cannot listen on port {port}: {error.strerror}. Choose another --port.") from error
        with server:
            typer.echo(f"Serving http://127.0.0.1:{server.server_port}/ (Ctrl-C stops)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                typer.echo("Stopped.")
