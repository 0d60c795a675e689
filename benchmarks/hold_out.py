"""Put a share of a LaMP directory's users aside for tuning: no comparison on what is written evaluates them.

python benchmarks/hold_out.py DATA OUT [--after N] [--train]

The last quarter of the users of each task's split, one at least, becomes the split `tune` in OUT, the others keep its
name. Users are taken from the end because a comparison takes the first `--users` of a file, so that most comparisons on
DATA itself evaluate none of them either. With --train they become the split `train` and the others `dev`, for a folder
where `--regime unseen` finds users to fit on who are not evaluated. With --after all but the first N are put aside:
what was found on these can be asked of others.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from harness.api import HarnessError
from harness.tasks.lamp_directory import read
from harness.tasks.lamp_layout import Files, MissingError, find
from harness.tasks.lamp_schema import SCHEMAS, identifier

SHARE = 4  # one user in so many is put aside
SPLITS = ("dev", "train")  # the first that is there is divided


def hold_out(data: Path, out: Path, train: bool = False, after: int | None = None) -> dict[str, tuple[int, int]]:
    """(users that stay, users put aside) by task; questions that cannot be used are left out.

    `after`: how many stay; by default all but the last quarter.

    Raises HarnessError where no task of LaMP has a usable split.
    """
    divided = {}
    for task, schema in SCHEMAS.items():
        try:
            splits = find(schema, data).splits
        except MissingError:
            continue
        if name := next((split for split in SPLITS if split in splits), None):
            stay, aside = ("dev", "train") if train else (name, "tune")
            users = {query.id: query.user for query in read(schema, data, name).queries}
            divided[task] = _divide(splits[name], users, (stay, aside), out / schema.folder, after)
    if not divided:
        raise HarnessError(f"{data} holds no LaMP_<n>/dev_questions.json, nor one of train.")
    return divided


def _divide(
    files: Files, users: dict[str, str], names: tuple[str, str], out: Path, after: int | None
) -> tuple[int, int]:
    questions, outputs = _read(files.questions), _read(files.outputs)
    order = list(dict.fromkeys(users.values()))
    if after is None:
        after = len(order) - min(len(order) - 1, max(1, len(order) // SHARE))  # of a single user nobody is put aside
    last = set(order[after:])
    out.mkdir(parents=True, exist_ok=True)
    for name, wanted in zip(names, (set(order) - last, last), strict=True):
        if not wanted:  # an empty split would be found, and refused
            continue
        ids = {question for question, user in users.items() if user in wanted}
        _write(out / f"{name}_questions.json", _of(ids, questions))
        _write(out / f"{name}_outputs.json", {**outputs, "golds": _of(ids, outputs["golds"])})
        _write(out / f"{name}_users.json", {question: users[question] for question in users if question in ids})
    return len(order) - len(last), len(last)


def _of(ids: set[str], records: list[Any]) -> list[Any]:
    return [record for record in records if _id(record) in ids]


def _id(record: Any) -> str:
    try:
        return identifier(record["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="LaMP files as they are published")
    parser.add_argument("out", type=Path, help="folder for the divided files")
    parser.add_argument("--train", action="store_true", help="name the splits dev and train")
    parser.add_argument("--after", type=int, metavar="N", help="put all but the first N users aside")
    arguments = parser.parse_args()
    divided = hold_out(arguments.data, arguments.out, arguments.train, arguments.after)
    for task, (stay, aside) in divided.items():
        print(f"{task}: {stay} users stay, {aside} are put aside")
