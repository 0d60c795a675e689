"""Where a directory keeps LaMP's files: people keep them as LaMP's host has them, as they fetched them, or in between.

Read are DIR/LaMP_<n>/<split>_questions.json and, one folder deeper, DIR/LaMP_<n>/<split>/<split>_questions.json; what
LaMP's host keeps in LaMP_2/new is looked for there first. DIR may be the LaMP_<n> folder itself, or a mirror that
holds the host's folders (ciir.cs.umass.edu/downloads/LaMP/LaMP_<n>).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.api import HarnessError, MissingError
from harness.tasks.lamp_schema import SCHEMAS, Schema

TIME = "time"  # the folder of the files separated by time
_MIRROR = "ciir.cs.umass.edu/downloads/LaMP"
_DEPTH = 6  # folders that are looked into: a mirror's, and time/
_TASK = re.compile(r"LaMP_\d+")
_QUESTIONS = "_questions.json"
_PACKED = (".gz", ".bz2", ".xz", ".zip")
_SHOWN = 5  # folders that an error names


@dataclass(frozen=True)
class Files:
    """The files of one split; `outputs` and `users` need not exist."""

    questions: Path
    outputs: Path
    users: Path


@dataclass(frozen=True)
class Found:
    """A task's splits in a directory. `passed_over`: those of another task of the same folder, which were not taken."""

    splits: dict[str, Files]
    by_time: bool
    passed_over: frozenset[str] = frozenset()


def find(schema: Schema, directory: Path) -> Found:
    """The splits of a task. Raises MissingError, which names what is read and what is there, if there are none."""
    try:
        if not directory.is_dir():
            raise MissingError(f"{directory}: no such directory")
        root = _root(directory)
        base = _base(schema, root)
        first, rest = _nearest(schema, base), _splits(base)
    except OSError as error:
        if isinstance(error, MissingError):
            raise
        raise HarnessError(f"{error.filename or directory}: cannot be read: {error.strerror}") from error
    if not first and not rest:
        raise MissingError(f"{directory}: {_what_is_read(schema, root)} {schema.how_to_get}")
    by_time = TIME in (base.absolute().parent.name, base.resolve().parent.name)
    same = first == rest
    return Found({**rest, **first}, by_time, frozenset() if same else frozenset(first.keys() & rest.keys()))


def _root(directory: Path) -> Path:
    """The folder that holds the LaMP_<n> folders, or is one: the directory, or where its only folders lead."""
    place = directory
    for _ in range(_DEPTH):
        if _TASK.fullmatch(place.resolve().name) or _folders(place, tasks=True):
            return place
        inner = _folders(place)
        if (place / _MIRROR).is_dir():
            place = place / _MIRROR
        elif len(inner) == 1:
            place = place / inner[0]
        else:
            break
    return directory


def _folders(place: Path, tasks: bool = False) -> list[str]:
    names = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [name for name in names if _TASK.fullmatch(name)] if tasks else names


def _base(schema: Schema, root: Path) -> Path:
    """The task's LaMP_<n> folder, whether or not it is there."""
    if (root / schema.folder).is_dir():
        return root / schema.folder
    if schema.address and root.resolve().as_posix().endswith(f"/{schema.address}"):
        return root.joinpath(*[".."] * schema.address.count("/"))
    return root if root.resolve().name == schema.folder else root / schema.folder


def _nearest(schema: Schema, base: Path) -> dict[str, Files]:
    """The splits in the folder where LaMP's host keeps this task, inside of the task's own."""
    return _splits(base / (schema.address or schema.folder).removeprefix(schema.folder).strip("/"))


def _holds(schema: Schema, base: Path) -> bool:
    return bool(_splits(base) or _nearest(schema, base))


def _splits(folder: Path) -> dict[str, Files]:
    nested = [path for path in folder.glob(f"*/*{_QUESTIONS}") if path.name == path.parent.name + _QUESTIONS]
    questions = [path for path in sorted(nested) + sorted(folder.glob(f"*{_QUESTIONS}")) if path.is_file()]
    return {path.name.removesuffix(_QUESTIONS): _files(path) for path in questions}


def _files(questions: Path) -> Files:
    split = questions.name.removesuffix(_QUESTIONS)
    return Files(questions, questions.with_name(f"{split}_outputs.json"), questions.with_name(f"{split}_users.json"))


def _what_is_read(schema: Schema, root: Path) -> str:
    sentence = f"no {schema.folder}/<split>{_QUESTIONS}, nor one in {schema.folder}/<split>/."
    own = _base(schema, root)
    if packed := next((path.name for path in own.rglob(f"*{_QUESTIONS}.*") if path.suffix in _PACKED), None):
        return f"{sentence} There is {packed}: unpack it and its outputs."
    if held := [task for task, known in SCHEMAS.items() if _holds(known, _base(known, root))]:
        return f"{sentence} What is there is read with --tasks {','.join(held)}."
    if _folders(root, tasks=True) or _TASK.fullmatch(root.resolve().name):
        return sentence
    names = _folders(root)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    read = ", ".join(dict.fromkeys(known.folder for known in SCHEMAS.values()))
    return f"{sentence} Folders of these names are read: {read}; there are: {shown or 'no folders'}."
