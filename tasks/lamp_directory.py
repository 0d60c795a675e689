"""LaMP directories, read split by split; `lamp_layout.py` says where the files may lie.

An optional <split>_users.json maps question ids to user ids. Without it a question's `user_id` is the user, and where
there is none either, as in LaMP's files by user, questions with the same profile are of one user.

LaMP publishes each task twice: separated by user and, under time/, by time, with earlier and later questions of the
same users in train, dev and test. DIR/time is a directory like any other, known by its name as separated by time.
"""

import hashlib
import json
import os
from pathlib import Path

from harness.api import HarnessError, MissingError, TaskData
from harness.tasks.lamp_layout import Files, find
from harness.tasks.lamp_records import Names, parse
from harness.tasks.lamp_schema import Schema, as_object

_ORDER = ("train", "dev", "test")


def splits(schema: Schema, directory: Path) -> tuple[str, ...]:
    """The splits of a task in a directory, usable or not. Raises as `read` where there is no such task."""
    names = find(schema, directory).splits
    return tuple(sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)))


def read(schema: Schema, directory: Path, split: str) -> TaskData:
    """The records of one split; if the directory holds a single split of the task, that one, with a note.

    Raises MissingError if there is no such split (named: those there are) or no answers to the test split, HarnessError
    for files that cannot be read: no UTF-8 (with the byte offset), no JSON (with line and column), or files that do not
    belong together.
    """
    found = find(schema, directory)
    notes = []
    if split not in found.splits:
        if len(found.splits) != 1:
            there = ", ".join(found.splits)
            raise MissingError(f"{directory}: no split {split!r} of {schema.folder}; there are: {there}")
        [only] = found.splits
        notes.append(f"there is no split {split!r}: {only!r}, the only one there, was used")
        split = only
    if split in found.passed_over:
        notes.append(f"{schema.address} was read, not {schema.folder}: at LaMP's own address {schema.former[1]}")
    data = _read_files(schema, found.splits[split], split, directory)
    data.split = split
    if found.by_time:
        data.separation = "time"
        notes.append("separated by time: the users of the other splits are the same, their questions earlier or later")
    data.notes[:0] = notes
    return data


def _read_files(schema: Schema, files: Files, split: str, directory: Path) -> TaskData:
    if not files.outputs.is_file():
        missing = f"{files.outputs}: no such file, so nothing can be scored."
        if split == "test":
            raise MissingError(f"{missing} The golds of LaMP's test split are not public; use --split dev")
        raise HarnessError(f"{missing} {schema.how_to_get}")
    digest = hashlib.sha256()
    questions = _load(files.questions, digest)
    outputs = _load(files.outputs, digest)
    users = None
    if os.path.lexists(files.users):  # a link that leads nowhere is a fault, and a file of null names nobody
        loaded = _load(files.users, digest)
        users = {} if loaded is None else loaded
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
        return json.loads(content.decode().removeprefix("\ufeff"), object_pairs_hook=as_object)
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}: is no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, or thousands of nested brackets.
        raise HarnessError(f"{path}: is no usable JSON: {error}") from error
