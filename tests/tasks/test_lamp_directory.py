"""LaMP directories: both layouts, splits, separations, files that are missing or cannot be read."""

import json
from pathlib import Path

import pytest

from harness.api import HarnessError, MissingError
from harness.tasks.lamp_directory import read
from harness.tasks.lamp_schema import SCHEMAS
from tests.tasks.made import outputs, question, write


@pytest.mark.parametrize("place", ["LaMP_2", "LaMP_2/dev"])
def test_both_layouts_are_found(tmp_path: Path, place: str) -> None:
    write(tmp_path / place)
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert (data.split, len(data.queries), data.notes) == ("dev", 1, [])


@pytest.mark.parametrize("place", ["LaMP_2", "LaMP_2/dev"])
def test_the_task_folder_itself_is_accepted(tmp_path: Path, place: str) -> None:
    write(tmp_path / place)
    assert len(read(SCHEMAS["lamp2"], tmp_path / "LaMP_2", "dev").queries) == 1


@pytest.mark.parametrize("place", ["time/LaMP_2", "time/LaMP_2/dev"])
def test_a_folder_named_time_is_known_as_separated_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write(tmp_path / place)
    for directory in (tmp_path / "time", tmp_path / "time" / "LaMP_2"):
        data = read(SCHEMAS["lamp2"], directory, "dev")
        assert (data.separation, len(data.notes)) == ("time", 1)
        assert "separated by time" in data.notes[0]
    monkeypatch.chdir(tmp_path / "time")
    assert read(SCHEMAS["lamp2"], Path(), "dev").separation == "time"


def test_a_users_file_that_leads_nowhere_is_an_error_and_no_absent_one(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    (tmp_path / "LaMP_2" / "dev_users.json").symlink_to(tmp_path / "moved")
    with pytest.raises(HarnessError, match=r"dev_users\.json: cannot be read: No such file"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_users_file_of_null_is_no_absent_one(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    (tmp_path / "LaMP_2" / "dev_users.json").write_text("null")
    with pytest.raises(HarnessError, match=r"dev_users\.json names no user for it"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_both_separations_lie_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    write(tmp_path / "time" / "LaMP_2", outputs=outputs(q1="comedy"))
    user, time = (read(SCHEMAS["lamp2"], path, "dev") for path in (tmp_path, tmp_path / "time"))
    assert (user.separation, user.golds) == ("user", {"q1": "sci-fi"})
    assert (time.separation, time.golds) == ("time", {"q1": "comedy"})
    assert user.fingerprint != time.fingerprint


def test_another_tasks_folder_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2")
    with pytest.raises(MissingError, match=r"no LaMP_3/<split>_questions.json"):
        read(SCHEMAS["lamp3"], tmp_path / "LaMP_2", "dev")


def test_the_only_split_is_used_and_said(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "train")
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert data.split == "train"
    assert data.notes == ["there is no split 'dev': 'train', the only one there, was used"]


def test_a_missing_split_names_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "train")
    write(tmp_path / "LaMP_2" / "test", "test")
    with pytest.raises(MissingError, match=r"no split 'dev' of LaMP_2; there are: (test, train|train, test)"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere: no such directory"):
        read(SCHEMAS["lamp2"], tmp_path / "nowhere", "dev")


def test_missing_outputs_point_to_dev(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", "test")
    (tmp_path / "LaMP_2" / "test_outputs.json").unlink()
    with pytest.raises(HarnessError, match=r"test_outputs.json: no such file.*not public; use --split dev"):
        read(SCHEMAS["lamp2"], tmp_path, "test")


def test_no_utf8_is_placed(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", questions=b'[{"id": "\xff"}]')
    with pytest.raises(HarnessError, match=r"dev_questions.json: is not UTF-8 \(byte 9\)"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_no_json_is_placed(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", outputs=b'{"task":\n oops}')
    with pytest.raises(HarnessError, match=r"dev_outputs.json: is no JSON: line 2, column 2"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[" + b"9" * 5000 + b"]"])
def test_json_that_python_cannot_hold_is_an_error(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "LaMP_2", questions=content)
    with pytest.raises(HarnessError, match=r"dev_questions.json"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", questions=b"\xef\xbb\xbf" + json.dumps([question()]).encode())
    assert len(read(SCHEMAS["lamp2"], tmp_path, "dev").queries) == 1


def twice(key: str, value: object, record: dict[str, object]) -> bytes:
    """The record as JSON, with one key more, which it may have already."""
    return b"{" + f"{json.dumps(key)}: {json.dumps(value)}, ".encode() + json.dumps(record)[1:].encode()


GOLD = {"id": "q1", "output": "sci-fi"}


@pytest.mark.parametrize(
    ("kind", "content", "fault"),
    [
        (
            "users",
            twice("q1", "v", {"q1": "u", "q2": "u"}),
            "questions.json: record q1: field user: LaMP_2/dev_users.json names its user more than once",
        ),
        (
            "questions",
            b"["
            + twice("input", "description: A fox.", question())
            + b", "
            + json.dumps(question(id="q2")).encode()
            + b"]",
            "questions.json: record q1: field input: is given more than once",
        ),
        (
            "questions",
            json.dumps([question(id="q2"), question()])
            .replace('[{"id": "i1"', '[{"tag": "classic", "id": "i1"', 1)
            .encode(),
            "questions.json: record q2: field profile[0].tag: is given more than once",
        ),
        (
            "outputs",
            b'{"task": "LaMP_2", "golds": [{"id": "q2", "output": "comedy"}, '
            + twice("output", "comedy", GOLD)
            + b"]}",
            "outputs.json: record q1: field output: is given more than once",
        ),
    ],
)
def test_a_key_twice_in_one_object_is_named_and_what_it_says_is_skipped(
    tmp_path: Path, kind: str, content: bytes, fault: str
) -> None:
    files: dict[str, object] = {
        "questions": [question(), question(id="q2")],
        "outputs": outputs(q1="sci-fi", q2="comedy"),
        kind: content,
    }
    write(tmp_path / "LaMP_2", **files)
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert fault in str(data.faults[0])
    item = "profile" in fault
    assert [query.id for query in data.queries] == (["q2", "q1"] if item else ["q2"])
    assert len(data.histories["q2"] if kind != "users" else data.histories["u"]) == (0 if item else 1)


def test_outputs_with_a_key_twice_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2", outputs=twice("task", "LaMP_3", outputs()))
    with pytest.raises(HarnessError, match=r"dev_outputs.json: gives 'task' more than once"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    def fingerprint(name: str, **files: object) -> str:
        write(tmp_path / name / "LaMP_2", **files)
        return read(SCHEMAS["lamp2"], tmp_path / name, "dev").fingerprint

    base = fingerprint("a")
    assert base == fingerprint("b")
    assert len({base, fingerprint("c", users={"q1": "u"}), fingerprint("d", outputs=outputs(q1="comedy"))}) == 3


def test_missing_files_come_with_a_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="`harness data fetch lamp4` downloads"):
        read(SCHEMAS["lamp4"], tmp_path, "dev")
    with pytest.raises(MissingError, match=r"LaMP_6 cannot be downloaded.*LDC2015T03"):
        read(SCHEMAS["lamp6"], tmp_path, "dev")
