"""Files by what the operating system notes of them: whatever changes, the snapshot does."""

import os

import pytest

from harness.repeats.file_states import snapshot


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    (root / "deep").mkdir(parents=True)
    (root / "questions.json").write_text("[1, 2]")
    (root / "deep" / "outputs.json").write_text("[3]")
    return root


def rewrite_unseen(root):
    """Other content of the same size, and the time of the last change set back."""
    path = root / "questions.json"
    before = path.stat()
    path.write_text("[1, 3]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_unseen(root):
    path = root / "questions.json"
    before = path.stat()
    (root.parent / "other").write_text("[1, 3]")
    os.utime(root.parent / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(root.parent / "other", path)


CHANGES = {
    "rewritten": rewrite_unseen,
    "replaced": replace_unseen,
    "longer": lambda root: (root / "deep" / "outputs.json").write_text("[3, 4]"),
    "removed": lambda root: (root / "deep" / "outputs.json").unlink(),
    "added": lambda root: (root / "deep" / "new.json").touch(),
    "renamed": lambda root: (root / "deep").rename(root / "time"),
    "folder added": lambda root: (root / "time").mkdir(),
    "gone": lambda root: root.rename(root.parent / "elsewhere"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(folder, change):
    before = snapshot([folder])
    assert snapshot([folder]) == before
    change(folder)
    assert snapshot([folder]) != before


def test_a_link_counts_as_what_it_leads_to(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    before = snapshot([link])
    rewrite_unseen(folder)
    assert snapshot([link]) != before


def test_a_link_that_leads_back_ends(folder):
    (folder / "deep" / "up").symlink_to(folder)
    assert snapshot([folder]) == snapshot([folder])


def test_names_that_do_not_count_are_passed_over(folder):
    before = snapshot([folder], ("wandb",))
    (folder / "wandb").mkdir()
    (folder / "wandb" / "log").touch()
    assert snapshot([folder], ("wandb",)) == before


def test_what_is_absent_may_be_asked_for(tmp_path):
    before = snapshot([tmp_path / "synthetic"])
    assert snapshot([tmp_path / "synthetic"]) == before
    (tmp_path / "synthetic").mkdir()
    assert snapshot([tmp_path / "synthetic"]) != before
