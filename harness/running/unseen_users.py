"""Users to fit on who are not evaluated: what `--regime unseen` promises, held by names and by what histories hold.

LaMP names no users, so that the same person may be in two splits under two ids. What gives them away is their history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from harness.api import HarnessError, HistoryItem, Task, TaskData
from harness.formatting import plain

Histories = Mapping[str, Sequence[HistoryItem]]
Key = Callable[[HistoryItem], int]

_SHARE = 0.5  # of the shorter history that two users must have in common to be one person
_CONTENTS = 3  # items in common at least where ids differ: short texts recur by chance
_OWNERS = 3  # what more users of one split have says nothing about who somebody is
_MOST = 0.5  # of the users of a split who are also in the other: from here on the splits are not of other people


@dataclass(frozen=True)
class Twin:
    """A user to fit on, and the user of the evaluated split who is the same person."""

    fitted: str
    evaluated: str
    shared: int = 0  # history items in common; 0 where the name says it
    of: int = 0  # of so many in the shorter history


def without_evaluated(task: Task, data: TaskData, fit_data: TaskData) -> TaskData:
    """`fit_data` without the people of `data`, which is noted there if there are a few.

    Raises HarnessError where the two are of one split, separated by time, or mostly the same people.
    """
    if data.separation == "time":
        raise _refusal(
            task,
            f"{fit_data.split} and {data.split} of a time-based separation have the same users",
            "Use the user-based files, or --regime seen.",
        )
    if fit_data.split == data.split:
        raise _refusal(task, f"both come from the split {data.split}")
    if data.fingerprint and fit_data.fingerprint == data.fingerprint:
        raise _refusal(task, f"the files of {fit_data.split} are those of {data.split}")
    twins = [*_of_one_name(data, fit_data), *_of_one_history(data.histories, fit_data.histories)]
    left_out = {twin.fitted for twin in twins}
    both = {twin.evaluated for twin in twins}
    if len(both) >= _MOST * len(data.histories) or len(left_out) >= _MOST * len(fit_data.histories):
        raise _refusal(task, _same_people(data, fit_data, twins))
    if not twins:
        return fit_data
    data.notes.append(
        f"{len(left_out)} of {len(fit_data.histories)} users of {fit_data.split} were left out of the fit: they are "
        f"users of {data.split} as well, by name or by history"
    )
    return replace(
        fit_data,
        queries=[query for query in fit_data.queries if query.user not in left_out],
        histories={user: items for user, items in fit_data.histories.items() if user not in left_out},
    )


def _refusal(task: Task, fault: str, advice: str = "") -> HarnessError:
    advice = advice or "Give a directory with a train split of other users, or use --regime seen."
    return HarnessError(f"{task.name}: --regime unseen fits on users who are not evaluated, but {fault}. {advice}")


def _same_people(data: TaskData, fit_data: TaskData, twins: Sequence[Twin]) -> str:
    named = sorted(plain(twin.fitted) for twin in twins if not twin.shared)
    if named:
        return f"users {', '.join(named[:3])} are in both"
    first = twins[0]
    return (
        f"{len({twin.evaluated for twin in twins})} of {len(data.histories)} users of {data.split} are in "
        f"{fit_data.split} as well, as their histories show: user {plain(first.evaluated)} and user "
        f"{plain(first.fitted)} there share {first.shared} of {first.of} items. So it is where files are "
        "separated by time"
    )


def _of_one_name(data: TaskData, fit_data: TaskData) -> Iterator[Twin]:
    """Users of one id, where ids name users: questions numbered alike in two splits are not of one person."""
    if not (data.names_users and fit_data.names_users):
        return
    for user in fit_data.histories:
        if user in data.histories:
            yield Twin(user, user)


def _of_one_history(evaluated: Histories, fitted: Histories) -> list[Twin]:
    """Users to fit on whose history is largely that of an evaluated user: items equal by id and text, or by text."""
    found: list[Twin] = []
    for key, least in ((_item, 1), (_content, _CONTENTS)):
        known = {twin.fitted for twin in found}
        more = [twin for twin in _twins(evaluated, fitted, key, least) if twin.fitted not in known]
        # Short texts recur, and films have one id for everybody. They say who somebody is only where they do so less
        # among people who are not the same.
        if more and len(found) + len(more) < _MOST * len(fitted):
            by_chance = len(_twins(evaluated, evaluated, key, least)) / len(evaluated)
            more = more if len(more) > 2 * by_chance * len(fitted) else []
        found += more
    return found


def _twins(evaluated: Histories, fitted: Histories, key: Key, least: int) -> list[Twin]:
    """For each fitted user the evaluated one, if any, with whom half of the shorter history and `least` are shared.

    Within one split, a user's own history is not compared.
    """
    owners = _owners(evaluated, key, _OWNERS + (evaluated is fitted))
    sizes = {user: len(set(map(key, items))) for user, items in evaluated.items()}
    twins: list[Twin] = []
    for user, items in fitted.items():
        mine = set(map(key, items))
        common = Counter(owner for one in mine for owner in owners.get(one, ()))
        if evaluated is fitted:
            del common[user]
        nearest = sorted(common.items(), key=lambda pair: (-pair[1], pair[0]))
        found = (Twin(user, owner, shared, min(len(mine), sizes[owner])) for owner, shared in nearest)
        twins += islice((twin for twin in found if twin.shared >= max(least, _SHARE * twin.of)), 1)
    return twins


def _owners(histories: Histories, key: Key, most: int) -> dict[int, list[str]]:
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for user, items in histories.items():
        for one in {key(item) for item in items}:
            owners[one].append(user)
    return {one: users for one, users in owners.items() if len(users) <= most}


def _item(item: HistoryItem) -> int:
    # Hashes, since millions of texts would be held twice otherwise.
    return hash((item.id, item.text, item.label))


def _content(item: HistoryItem) -> int:
    return hash((item.text, item.label))
