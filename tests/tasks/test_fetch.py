"""`harness data fetch` against a real server that breaks off, changes files, knows no ranges, or has nothing."""

import hashlib
import json
from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.tasks.fetch import download
from harness.tasks.fetch.fetching import fetch
from harness.tasks.fetch.manifest import Manifest
from harness.tasks.fetch.official import RemoteFile
from tests.tasks.fetched import BODY, OTHER, PATH, Log, get, names
from tests.tasks.serving import Site

HALF = len(BODY) // 2


def test_a_file_is_fetched_recorded_and_leaves_nothing_else_behind(site: Site, tmp_path: Path) -> None:
    log = get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY
    assert log.done == [(PATH, "downloaded")]
    assert log.seen[-1] == (len(BODY), len(BODY))
    assert names(tmp_path) == [".fetch.lock", PATH, "manifest.json"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    digest = hashlib.sha256(BODY).hexdigest()
    assert manifest["files"] == {PATH: {"url": f"{site.url}/q", "size": len(BODY), "sha256": digest}}


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.dies_after = [HALF]
    log = get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY
    assert site.ranges_asked() == [None, f"bytes={HALF}-"]
    assert log.seen[-1] == (len(BODY), len(BODY))


def test_a_later_call_goes_on_too(site: Site, tmp_path: Path) -> None:
    site.dies_after = [HALF, *[0] * 20]
    with pytest.raises(HarnessError, match=f"broke off at byte {HALF}: .*Repeat the command"):
        get(site, tmp_path)
    assert not (tmp_path / PATH).exists()
    site.dies_after, site.requests = [], []
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY
    assert site.ranges_asked() == [f"bytes={HALF}-"]


def test_many_breaks_are_no_failure_while_bytes_arrive(site: Site, tmp_path: Path) -> None:
    site.dies_after = [len(BODY) // 20] * 18
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY


def test_a_server_without_ranges_sends_the_whole_file_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.dies_after = False, [HALF]
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY
    assert len(site.requests) == 2


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(site: Site, tmp_path: Path) -> None:
    site.ranges, site.dies_after = False, [HALF] * 20
    with pytest.raises(HarnessError, match="broke off"):
        get(site, tmp_path)
    assert len(site.requests) == download.ATTEMPTS


def test_a_file_without_a_version_is_not_pieced_together(site: Site, tmp_path: Path) -> None:
    site.versions, site.if_range, site.dies_after = False, False, [HALF]
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY
    assert site.ranges_asked() == [None, None]


@pytest.mark.parametrize("heeded", [True, False])
def test_a_file_that_changed_between_two_parts_is_fetched_anew(site: Site, tmp_path: Path, heeded: bool) -> None:
    site.dies_after = [HALF, *[0] * 20]
    with pytest.raises(HarnessError):
        get(site, tmp_path)
    site.dies_after, site.if_range, site.files["/q"] = [], heeded, OTHER
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == OTHER


def test_a_file_that_shrank_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.dies_after = [HALF, *[0] * 20]
    with pytest.raises(HarnessError):
        get(site, tmp_path)
    site.dies_after, site.if_range, site.files["/q"] = [], False, b"[]"
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == b"[]"


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.busy = 2
    get(site, tmp_path)
    assert (tmp_path / PATH).read_bytes() == BODY


def test_a_missing_file_is_named_and_those_before_it_stay(site: Site, tmp_path: Path) -> None:
    files = [RemoteFile(f"{site.url}/q", PATH), RemoteFile(f"{site.url}/gone", "LaMP_3/dev_outputs.json")]
    with pytest.raises(HarnessError, match=r"/gone: the server answers 404.*--base-url"):
        fetch(tmp_path, files, Log())
    assert list(Manifest.load(tmp_path).files) == [PATH]
    assert names(tmp_path) == [".fetch.lock", PATH, "manifest.json"]


def test_a_page_in_place_of_a_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.files["/q"], site.kind = b"\n<!DOCTYPE html><html>Not found</html>", "text/html"
    with pytest.raises(HarnessError, match=r"sends text/html, not a JSON file"):
        get(site, tmp_path)
    assert not (tmp_path / PATH).exists()


def test_an_empty_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.files["/q"] = b""
    with pytest.raises(HarnessError, match="empty"):
        get(site, tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/q", "nonsense", "file:///etc/hostname"])
def test_an_address_that_leads_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with pytest.raises(HarnessError, match=f"{url}: cannot be reached"):
        fetch(tmp_path, [RemoteFile(url, PATH)], Log())


def test_force_does_not_go_on_from_an_old_part(site: Site, tmp_path: Path) -> None:
    site.dies_after = [HALF, *[0] * 20]
    with pytest.raises(HarnessError):
        get(site, tmp_path)
    site.dies_after, site.requests = [], []
    get(site, tmp_path, force=True)
    assert site.ranges_asked() == [None]
