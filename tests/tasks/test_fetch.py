"""`harness data fetch` against a real server that breaks off, changes files, knows no ranges, or has nothing."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.tasks.fetch import download
from harness.tasks.fetch.fetching import fetch
from harness.tasks.fetch.manifest import Entry, Manifest
from harness.tasks.fetch.official import BASE_URL, RemoteFile, official_files
from harness.tasks.lamp import Lamp3
from tests.tasks.made import outputs, question
from tests.tasks.serving import Server, Site

BODY = json.dumps([{"id": str(number)} for number in range(2000)]).encode()
OTHER = BODY.replace(b"1", b"2")
HALF = len(BODY) // 2
PATH = "LaMP_3/dev_questions.json"


class Log:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.done: list[tuple[str, str]] = []

    def progress(self, file: RemoteFile, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def finished(self, file: RemoteFile, found: Entry, how: str) -> None:
        self.done.append((file.path, how))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Server() as server:
        server.site.files["/q"] = BODY
        yield server.site


def get(site: Site, directory: Path, force: bool = False) -> Log:
    log = Log()
    fetch(directory, [RemoteFile(f"{site.url}/q", PATH)], log, force)
    return log


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------------ transfers


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


# ------------------------------------------------------------------------------------------------------------- manifest


def test_what_is_there_is_verified_and_not_downloaded(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    assert get(site, tmp_path).done == [(PATH, "verified")]
    assert len(site.requests) == 1


def test_a_changed_file_is_an_error_until_force_replaces_it(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    (tmp_path / PATH).write_bytes(OTHER)
    with pytest.raises(HarnessError, match=r"was changed since it was fetched: .*recorded .*--force"):
        get(site, tmp_path)
    get(site, tmp_path, force=True)
    assert (tmp_path / PATH).read_bytes() == BODY


def test_other_content_at_the_same_address_is_an_error_until_force_takes_it(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    (tmp_path / PATH).unlink()
    site.files["/q"] = OTHER
    with pytest.raises(HarnessError, match="is not the file that was fetched before"):
        get(site, tmp_path)
    assert names(tmp_path) == [".fetch.lock", "manifest.json"]
    get(site, tmp_path, force=True)
    assert get(site, tmp_path).done == [(PATH, "verified")]


def test_a_file_of_somebody_elses_is_left_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "LaMP_3").mkdir()
    (tmp_path / PATH).write_text("mine")
    with pytest.raises(HarnessError, match="left alone"):
        get(site, tmp_path)
    assert (tmp_path / PATH).read_text() == "mine"


def test_force_does_not_go_on_from_an_old_part(site: Site, tmp_path: Path) -> None:
    site.dies_after = [HALF, *[0] * 20]
    with pytest.raises(HarnessError):
        get(site, tmp_path)
    site.dies_after, site.requests = [], []
    get(site, tmp_path, force=True)
    assert site.ranges_asked() == [None]


@pytest.mark.parametrize("link", ["LaMP_3", PATH, f"{PATH}.part", f"{PATH}.part.json", "manifest.json", ".fetch.lock"])
def test_nothing_is_written_through_a_link_out_of_the_directory(site: Site, tmp_path: Path, link: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (inside / link).parent.mkdir(parents=True)
    (inside / link).symlink_to(outside / "" if link == "LaMP_3" else outside / "file")
    with pytest.raises(HarnessError, match="leads out of"):
        get(site, inside, force=True)
    assert names(outside) == []


def test_two_fetches_do_not_write_into_one_directory_at_once(site: Site, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".fetch.lock"), pytest.raises(HarnessError, match="another `harness data fetch`"):
        get(site, tmp_path)


@given(
    content=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["schema_version", "files", "url", "version", PATH]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda junk: json.dumps(junk).encode())
)
def test_any_bytes_are_a_manifest_or_refused_and_a_note_or_ignored(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("junk")
    (folder / "manifest.json").write_bytes(content)
    with suppress(HarnessError):
        Manifest.load(folder)
    part = download.Part(folder / "x.json")
    part.note.write_bytes(content)
    part.path.write_bytes(b"[")
    assert isinstance(part.version("url"), str)


# ------------------------------------------------------------------------------------------------------------- official


def test_official_addresses_become_the_layout_that_is_read() -> None:
    assert official_files("lamp3", "dev", "user") == [
        RemoteFile(f"{BASE_URL}/LaMP_3/dev/dev_questions.json", "LaMP_3/dev_questions.json"),
        RemoteFile(f"{BASE_URL}/LaMP_3/dev/dev_outputs.json", "LaMP_3/dev_outputs.json"),
    ]
    [questions, _] = official_files("lamp2", "train", "time", "http://mirror/LaMP/")
    assert questions == RemoteFile(
        "http://mirror/LaMP/time/LaMP_2/new/train/train_questions.json", "time/LaMP_2/train_questions.json"
    )


def test_licensed_and_unknown_tasks_are_refused() -> None:
    with pytest.raises(HarnessError, match="LDC2015T03"):
        official_files("lamp6", "dev", "user")
    with pytest.raises(HarnessError, match=r"no task 'lamp8'\. Known: lamp1"):
        official_files("lamp8", "dev", "user")


def harness(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.commands.app import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_the_command_fetches_what_a_run_reads(site: Site, tmp_path: Path) -> None:
    for top in ("", "/time"):
        site.files[f"{top}/LaMP_3/dev/dev_questions.json"] = json.dumps([question("lamp3")]).encode()
        site.files[f"{top}/LaMP_3/dev/dev_outputs.json"] = json.dumps(outputs("lamp3")).encode()
    result = harness("data", "fetch", "lamp3", "--out", str(tmp_path / "lamp"), "--base-url", site.url)
    assert result.returncode == 0, result.stderr
    assert "LaMP_3/dev_outputs.json: downloaded" in result.stdout
    assert Lamp3().load(str(tmp_path / "lamp"), "dev").separation == "user"
    by_time = ("data", "fetch", "lamp3", "--out", str(tmp_path / "lamp"), "--separation", "time")
    assert harness(*by_time, LAMP_BASE_URL=site.url).returncode == 0
    assert Lamp3().load(str(tmp_path / "lamp" / "time"), "dev").separation == "time"


def test_the_commands_of_the_engine_and_of_the_tasks_stand_side_by_side(tmp_path: Path) -> None:
    listed = harness("data", "--help").stdout
    assert "check" in listed
    assert "fetch" in listed
    result = harness("data", "fetch", "lamp3", "--split", "test", "--out", str(tmp_path))
    assert (result.returncode, "not public" in result.stderr) == (2, True)
