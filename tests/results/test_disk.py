"""Folders that a user names, before anything is computed for them."""

import errno
import os
from pathlib import Path

import pytest

from harness.api import HarnessError, home
from harness.results import disk


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("file", r"^file is a file; name a folder\.$"),
        ("file/below/it", r"/file is a file; name a folder\.$"),
        ("link", r"^link is a link that leads nowhere; name a folder\.$"),
        ("link/below", r"/link is a link that leads nowhere; name a folder\.$"),
        ("/dev/full/x", r"^/dev/full is a file; name a folder\.$"),
        ("/proc/nothing", r"^Nothing can be written into /proc/nothing: .*Name another folder\.$"),
        ("x" * 300, r"^Nothing can be written into x+: File name too long\. Name another folder\.$"),
    ],
)
def test_what_can_be_no_folder_is_refused_and_said_to_be_what_it_is(path, fault):
    with pytest.raises(HarnessError, match=fault):
        disk.require_folder(path)


@pytest.mark.parametrize("path", ["new", "new/below", ".", "", "[red]x", "~/runs/x"])
def test_a_folder_that_is_there_or_can_be_made_passes_and_nothing_is_left_behind(path, work):
    before = sorted(work.rglob("*"))
    assert disk.require_folder(path) == Path(os.path.expanduser(path))
    assert sorted(work.rglob("*")) == before


def test_a_tilde_is_home_only_where_it_leads_the_path(work):
    assert home("~/x") == work / "home" / "x"
    assert home("a~/x") == Path("a~/x")
    assert home("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_a_full_disk_is_told_from_other_faults_however_it_is_said():
    full = OSError(errno.ENOSPC, "No space left on device", "out/cell.json")
    assert disk.is_full(full)
    assert disk.is_full(RuntimeError("Error while serializing: IoError(No space left on device (os error 28))"))
    wrapped = RuntimeError("cannot save")
    wrapped.__cause__ = full
    assert disk.is_full(wrapped)
    assert not disk.is_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk.is_full(RuntimeError("no space"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "out/x: the disk is full.*repeat the command"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "out/x: Permission denied.*Name another place"),
        (errno.EROFS, "Read-only file system.*Name another place"),
        (errno.ENOTDIR, "out/x: there is a file where a folder is needed"),
        (errno.EIO, r"out/x: Input/output error\."),
    ],
)
def test_an_error_of_the_system_is_one_line_with_the_file_and_what_to_do(number, said):
    error = OSError(number, os.strerror(number), "out/x")
    with pytest.raises(HarnessError, match=said):
        raise HarnessError(disk.explain(error))
    assert "\n" not in disk.explain(error)
    assert disk.explain(OSError("of a library,\nwith no number")) == "of a library, with no number."
