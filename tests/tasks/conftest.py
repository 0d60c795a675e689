"""Fixtures: a server to fetch from."""

from collections.abc import Iterator

import pytest

from harness.tasks.fetch import download
from tests.tasks.fetched import BODY
from tests.tasks.serving import Server, Site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serves `BODY` at `/q`; who fetches from it does not wait between two attempts."""
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Server() as server:
        server.site.files["/q"] = BODY
        yield server.site
