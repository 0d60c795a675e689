"""LaMP directories, as people keep the official files: DIR/LaMP_<n>/<split>_{questions,outputs}.json.

Also accepted: one folder deeper (DIR/LaMP_<n>/<split>/<split>_questions.json), DIR being the LaMP_<n> folder itself,
and an optional <split>_users.json that maps question ids to user ids. LaMP names no users: without that file every
question's profile is a user of its own.

LaMP publishes each task twice: separated by user and, under time/, by time, with earlier and later questions of the
same users in train, dev and test. DIR/time is a directory like any other, known by its name as separated by time.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from harness.api import HarnessError, TaskData
from harness.tasks.lamp_records import Names, parse
from harness.tasks.lamp_schema import Schema

TIME = "time"  # the folder of the files separated by time
_QUESTIONS = "_questions.json"


class MissingError(HarnessError, FileNotFoundError):
    """The source has no such task or split, as opposed to a broken one."""


@dataclass(frozen=True)
class _Files:
    questions: Path
    outputs: Path
    users: Path


def read(schema: Schema, directory: Path, split: str) -> TaskData:
    """The records of one split; if the directory holds a single split of the task, that one, with a note.

    Raises MissingError if there is no such split (named: those there are), HarnessError for files that cannot be read:
    no UTF-8 (with the byte offset), no JSON (with line and column), or files that do not belong together.
    """
    folder = _folder(schema, directory)
    splits = _splits(folder)
    if not splits:
        raise MissingError(f"{directory}: no {schema.folder}/<split>{_QUESTIONS}. {schema.how_to_get}")
    notes = []
    if split not in splits:
        if len(splits) != 1:
            raise MissingError(f"{directory}: no split {split!r} of {schema.folder}; there are: {', '.join(splits)}")
        [only] = splits
        notes.append(f"there is no split {split!r}: {only!r}, the only one there, was used")
        split = only
    data = _read_files(schema, splits[split], directory)
    data.split = split
    if TIME in (folder.absolute().parent.name, folder.resolve().parent.name):
        data.separation = "time"
        notes.append("separated by time: the users of the other splits are the same, their questions earlier or later")
    data.notes[:0] = notes
    return data


def _folder(schema: Schema, directory: Path) -> Path:
    if not directory.is_dir():
        raise MissingError(f"{directory}: no such directory")
    folder = directory / schema.folder
    return directory if not folder.is_dir() and directory.resolve().name == schema.folder else folder


def _splits(folder: Path) -> dict[str, _Files]:
    nested = [path for path in folder.glob(f"*/*{_QUESTIONS}") if path.name == path.parent.name + _QUESTIONS]
    questions = [path for path in sorted(nested) + sorted(folder.glob(f"*{_QUESTIONS}")) if path.is_file()]
    return {path.name.removesuffix(_QUESTIONS): _files(path) for path in questions}


def _files(questions: Path) -> _Files:
    split = questions.name.removesuffix(_QUESTIONS)
    return _Files(questions, questions.with_name(f"{split}_outputs.json"), questions.with_name(f"{split}_users.json"))


def _read_files(schema: Schema, files: _Files, directory: Path) -> TaskData:
    if not files.outputs.is_file():
        raise HarnessError(
            f"{files.outputs}: no such file, so nothing can be scored. The golds of LaMP's test split are not public; "
            "use --split dev"
        )
    digest = hashlib.sha256()
    questions = _load(files.questions, digest)
    outputs = _load(files.outputs, digest)
    users = _load(files.users, digest) if files.users.is_file() else None
    names = Names(*(path.relative_to(directory).as_posix() for path in (files.questions, files.outputs, files.users)))
    data = parse(schema, names, questions, outputs, users)
    data.fingerprint = digest.hexdigest()
    return data


def _load(path: Path, digest: "hashlib._Hash") -> object:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read: {error.strerror}") from error
    # The length keeps the hash of two files from equalling that of the same bytes cut elsewhere.
    digest.update(f"{len(content)}\n".encode() + content)
    try:
        return json.loads(content.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}: is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, or thousands of nested brackets.
        raise HarnessError(f"{path}: is no usable JSON: {error}") from error
