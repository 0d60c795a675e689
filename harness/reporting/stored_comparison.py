"""A comparison read back from the files of its run."""

from __future__ import annotations

import csv
from pathlib import Path

from harness.analysis.comparison import Comparison, UserScore
from harness.formatting import plain


def read_comparison(out: Path) -> Comparison | None:
    """The comparison in a run's folder, `users` included; None if its files are absent or damaged."""
    try:
        comparison = Comparison.model_validate_json((out / "comparison.json").read_text(encoding="utf-8"))
        with (out / "users.csv").open(encoding="utf-8", newline="") as file:
            users = [_user(line) for line in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return None
    return comparison.model_copy(update={"users": users})


def reads_back(comparison: Comparison, out: Path) -> bool:
    """Whether the files in `out` give all of it, numbers the same to the last bit; of user ids what is shown."""
    found = read_comparison(out)
    return found is not None and _content(found) == _content(comparison)


def _user(line: dict[str, str]) -> UserScore:
    known = {name: value for name, value in line.items() if value or name in ("variant", "user_id")}
    if "history_items" in known:  # a column that has gaps is one of floats
        known["history_items"] = str(int(float(known["history_items"])))
    absent = dict.fromkeys(("history_items", "instruct", "gain"))
    return UserScore.model_validate({**absent, **known})


def _content(comparison: Comparison) -> tuple[str, list[str]]:
    users = [user.model_copy(update={"user_id": plain(user.user_id)}) for user in comparison.users]
    return comparison.model_dump_json(), [user.model_dump_json() for user in users]
