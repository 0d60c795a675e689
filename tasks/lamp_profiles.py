"""The histories of users: profile items read one by one, and the profiles of one user's questions united."""

from collections import Counter
from dataclasses import dataclass, field, replace

from harness.api import Fault, HistoryItem
from harness.tasks.lamp_dates import moment
from harness.tasks.lamp_schema import MAX_CHARACTERS, Repetitive, Schema, identifier, kind_of, plain_text

_Content = tuple[str, str, str]  # text, label, date
_SHOWN = 40  # characters of a key


class BadFieldError(ValueError):
    """A field that spoils its record."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def require_distinct(record: object, where: str = "") -> None:
    """Raises BadFieldError, `where` before the key, for an object that gives a key more than once."""
    if isinstance(record, Repetitive):
        raise BadFieldError(where + record.repeated[0][:_SHOWN], "is given more than once")


@dataclass
class _User:
    items: dict[str, HistoryItem] = field(default_factory=dict)
    profiles: set[int] = field(default_factory=set)  # a hash of each question's item ids
    _places: dict[tuple[_Content, int], str] = field(default_factory=dict)
    _counts: Counter[_Content] = field(default_factory=Counter)

    def places(self) -> dict[tuple[_Content, int], str]:
        """The n-th item of each content -> its id. Begun with a user's second question, as most users have one."""
        if not self._places:
            for item in self.items.values():
                self._place(item)
        return self._places

    def add(self, item: HistoryItem) -> None:
        self.items[item.id] = item
        if self._places:
            self._place(item)

    def _place(self, item: HistoryItem) -> None:
        content = _content(item)
        self._places[content, self._counts[content]] = item.id
        self._counts[content] += 1


@dataclass
class Profiles:
    """Reads profiles into histories; faults go to `faults`.

    An item of a user is known by its id or, where files number the items of each question anew, by its content. An item
    without a usable id is kept and named after its question and place; so is one whose id means another item elsewhere.
    """

    schema: Schema
    file: str
    faults: list[Fault]
    found: int = 0
    skipped: int = 0
    cut: int = 0  # texts cut to MAX_CHARACTERS
    nameless: int = 0
    undated: int = 0  # items whose date cannot be read
    _users: dict[str, _User] = field(default_factory=dict)

    def add(self, user: str, record: str, profile: list[object]) -> None:
        """The profile of one question of a user."""
        known = self._users.setdefault(user, _User())
        seen: dict[str, _Content] = {}
        mine: set[str] = set()
        counts: Counter[_Content] = Counter()
        places = known.places()
        for position, raw in enumerate(profile):
            self.found += 1
            where = f"profile[{position}]"
            try:
                item = self._item(record, where, raw)
                content = _content(item)
                if item.id and seen.get(item.id) == content:
                    raise BadFieldError(f"{where}.id", f"{item.id!r} occurs twice; the first is kept")
            except BadFieldError as bad:
                self.skipped += 1
                self.faults.append(Fault(self.file, record, bad.field, str(bad)))
                continue
            seen.setdefault(item.id, content)
            same = places.get((content, counts[content]), "")
            counts[content] += 1
            mine.add(self._united(known, item, "" if same in mine else same, record, where))
        known.profiles.add(hash(frozenset(mine)))

    def histories(self) -> dict[str, tuple[HistoryItem, ...]]:
        """History by user: the union of the user's profiles, in the order of the file."""
        return {user: tuple(known.items.values()) for user, known in self._users.items()}

    def notes(self) -> list[str]:
        """What a reader of the results must know."""
        users = self._users.values()
        empty = sum(not known.items for known in users)
        several = sum(len(known.profiles) > 1 for known in users)
        counted = (
            (self.skipped, f"{self.skipped} of {self.found} history items could not be used"),
            (self.nameless, f"{self.nameless} history items have no usable id and go by their place in the file"),
            (self.undated, f"{self.undated} history items have a date that cannot be read and count as undated"),
            (empty, f"{empty} of {len(users)} users have an empty history"),
            (
                several,
                f"{several} of {len(users)} users have questions with different profiles: their history is the union, "
                "which may hold items later than a question",
            ),
        )
        return [note for count, note in counted if count]

    def _united(self, known: _User, item: HistoryItem, same: str, record: str, where: str) -> str:
        """The id under which the history holds the item, which is added if it is new; `same`: an equal one's id."""
        earlier = known.items.get(item.id) if item.id else None
        if earlier is not None and _content(earlier)[:2] == _content(item)[:2]:
            return item.id
        if same:
            return same
        place = record + where.removeprefix("profile")
        name = item.id or place
        if earlier is not None:
            name = f"{item.id} ({record})"
            if name in known.items:
                name = f"{item.id} ({place})"
            problem = f"{item.id!r} is another item too, met earlier; both are kept"
            self.faults.append(Fault(self.file, record, f"{where}.id", problem, kept=True))
        while name in known.items:
            name += "'"
        known.add(replace(item, id=name))
        return name

    def _item(self, record: str, where: str, raw: object) -> HistoryItem:
        """The item, its id empty if it has no usable one. Raises BadFieldError."""
        if not isinstance(raw, dict):
            raise BadFieldError(where, f"is {kind_of(raw)}, not an object")
        require_distinct(raw, f"{where}.")
        text = self._text(f"{where}.{self.schema.text_key}", raw.get(self.schema.text_key))
        label = self._label(where, raw)
        return HistoryItem(
            self._id(record, where, raw.get("id")), text, label, date=self._date(record, where, raw.get("date"))
        )

    def _id(self, record: str, where: str, value: object) -> str:
        try:
            return identifier(value)
        except ValueError as error:
            self.nameless += 1
            problem = f"{error}; the item goes by its place"
            self.faults.append(Fault(self.file, record, f"{where}.id", problem, kept=True))
            return ""

    def _date(self, record: str, where: str, value: object) -> str:
        try:
            return moment(value)
        except ValueError as error:
            self.undated += 1
            problem = f"{error}; the item counts as undated"
            self.faults.append(Fault(self.file, record, f"{where}.date", problem, kept=True))
            return ""

    def _text(self, where: str, value: object) -> str:
        self.cut += isinstance(value, str) and len(value.strip()) > MAX_CHARACTERS
        try:
            return plain_text(value)
        except ValueError as error:
            raise BadFieldError(where, str(error)) from None

    def _label(self, where: str, raw: dict[str, object]) -> str:
        key = self.schema.label_key
        if not key:
            return ""
        try:
            return self.schema.answer(raw.get(key))
        except ValueError as error:
            raise BadFieldError(f"{where}.{key}", str(error)) from None


def _content(item: HistoryItem) -> _Content:
    return item.text, item.label, item.date
