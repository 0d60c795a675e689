"""What `harness data fetch` finds in its directory: verified, changed, somebody else's, links, locks and junk."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.tasks.fetch import download
from harness.tasks.fetch.manifest import Manifest
from tests.tasks.fetched import BODY, OTHER, PATH, get, names
from tests.tasks.serving import Site


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
