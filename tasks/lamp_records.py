"""The records of the LaMP schema, read one by one: a bad record is named and skipped, the others survive.

Pure functions over loaded JSON. Schema: questions `[{"id", "input", "profile": [{"id", ...}]}]`, outputs
`{"task", "golds": [{"id", "output"}]}` and, ours, users `{question id: user id}` (Salemi et al. 2024, Appendix).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.api import Fault, HarnessError, HistoryItem, Query, TaskData
from harness.tasks.lamp_schema import MAX_CHARACTERS, Schema, identifier, kind_of, plain_text


@dataclass(frozen=True)
class Names:
    """What the three files are called in reports."""

    questions: str
    outputs: str
    users: str


def parse(schema: Schema, names: Names, questions: object, outputs: object, users: object | None) -> TaskData:
    """Histories, queries and golds of every good record; `split` and `fingerprint` are left for the caller.

    Texts and answers are stripped of surrounding white space and cut at MAX_CHARACTERS (counted in `notes`). A user's
    history is the union of the profiles of the user's good questions by item id, in file order. A user with an empty
    history is kept (a cold start, counted in `notes`). Raises HarnessError if the files do not belong together or
    nothing is usable.
    """
    return _Reader(schema, names).read(questions, outputs, users)


class _Bad(ValueError):
    """A field that spoils its record."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


@dataclass
class _Reader:
    schema: Schema
    names: Names
    faults: list[Fault] = field(default_factory=list)
    cut: int = 0

    def read(self, questions: object, outputs: object, users: object | None) -> TaskData:
        if not isinstance(questions, list):
            raise HarnessError(f"{self.names.questions}: expected a list of questions, found {kind_of(questions)}")
        if users is not None and not isinstance(users, dict):
            raise HarnessError(f"{self.names.users}: expected question ids mapped to user ids, found {kind_of(users)}")
        golds, named_golds = self._golds(outputs)
        records = dict(self._records(self.names.questions, questions))
        if records and named_golds and records.keys().isdisjoint(named_golds):
            raise HarnessError(
                f"{self.names.outputs} has no id in common with {self.names.questions}; are they of one split?"
            )
        for gold_id in golds:
            if gold_id not in records:
                self._fault(self.names.outputs, gold_id, "id", "no question has this id")
        data = TaskData(split="", histories={}, queries=[], golds={}, faults=self.faults)
        self._questions(records, golds, users, data)
        self._close(data)
        return data

    def _questions(self, records: dict[str, dict], golds: dict[str, str], users: dict | None, data: TaskData) -> None:
        profiles: dict[str, dict[str, HistoryItem]] = {}
        for record_id, record in records.items():
            try:
                if record_id not in golds:
                    raise _Bad("id", f"no usable gold in {self.names.outputs}")
                query = self._query(record_id, record, users)
                profile = record.get("profile")
                if not isinstance(profile, list):
                    raise _Bad("profile", f"is {kind_of(profile)}, not a list")
            except _Bad as bad:
                self._fault(self.names.questions, record_id, bad.field, str(bad))
                continue
            data.queries.append(query)
            data.golds[query.id] = golds[query.id]
            self._profile(record_id, profile, profiles.setdefault(query.user, {}))
        data.histories.update({user: tuple(items.values()) for user, items in profiles.items()})

    def _query(self, record_id: str, record: dict, users: dict | None) -> Query:
        text = record.get("input")
        if not isinstance(text, str):
            raise _Bad("input", f"is {kind_of(text)}, not text")
        try:
            asked = self.schema.query(text)
        except ValueError as error:
            raise _Bad("input", str(error)) from None
        query = self._text("input", asked)
        return Query(record_id, self._user(record_id, users), query)

    def _user(self, record_id: str, users: dict | None) -> str:
        if users is None:
            return record_id
        if record_id not in users:
            raise _Bad("user", f"{self.names.users} names no user for it")
        try:
            return identifier(users[record_id])
        except ValueError as error:
            raise _Bad("user", f"in {self.names.users} {error}") from None

    def _profile(self, record_id: str, profile: list[Any], known: dict[str, HistoryItem]) -> None:
        seen: set[str] = set()
        for position, raw in enumerate(profile):
            where = f"profile[{position}]"
            try:
                item = self._item(where, raw)
                if item.id in seen:
                    raise _Bad(f"{where}.id", f"{item.id!r} occurs twice; the first is kept")
                seen.add(item.id)
                if known.setdefault(item.id, item) != item:
                    raise _Bad(f"{where}.id", f"{item.id!r} is another item in an earlier question; that one is kept")
            except _Bad as bad:
                self._fault(self.names.questions, record_id, bad.field, str(bad))

    def _item(self, where: str, raw: object) -> HistoryItem:
        if not isinstance(raw, dict):
            raise _Bad(where, f"is {kind_of(raw)}, not an object")
        schema = self.schema
        try:
            item_id = identifier(raw.get("id"))
        except ValueError as error:
            raise _Bad(f"{where}.id", str(error)) from None
        text = self._text(f"{where}.{schema.text_key}", raw.get(schema.text_key))
        label = self._answer(f"{where}.{schema.label_key}", raw.get(schema.label_key)) if schema.label_key else ""
        return HistoryItem(item_id, text, label)

    def _golds(self, outputs: object) -> tuple[dict[str, str], set[str]]:
        """Usable golds by id, and every id that the file names."""
        name = self.names.outputs
        records = outputs.get("golds") if isinstance(outputs, dict) else None
        if not isinstance(outputs, dict) or not isinstance(records, list):
            raise HarnessError(f'{name}: expected {{"task": "{self.schema.folder}", "golds": [{{"id", "output"}}]}}')
        task = outputs.get("task")
        if task != self.schema.folder:
            found = repr(task[:40]) if isinstance(task, str) else kind_of(task)
            raise HarnessError(f"{name}: its task is {found}, expected {self.schema.folder!r}")
        golds: dict[str, str] = {}
        named: set[str] = set()
        for record_id, record in self._records(name, records):
            named.add(record_id)
            try:
                golds[record_id] = self._answer("output", record.get("output"))
            except _Bad as bad:
                self._fault(name, record_id, bad.field, str(bad))
        return golds, named

    def _records(self, name: str, records: list[Any]) -> Iterator[tuple[str, dict]]:
        """Records with a usable id that has not occurred before."""
        seen: set[str] = set()
        for position, record in enumerate(records):
            where = f"at index {position}"
            if not isinstance(record, dict):
                self._fault(name, where, "record", f"is {kind_of(record)}, not an object")
                continue
            try:
                record_id = identifier(record.get("id"))
            except ValueError as error:
                self._fault(name, where, "id", str(error))
                continue
            if record_id in seen:
                self._fault(name, record_id, "id", "occurs twice; the first is kept")
                continue
            seen.add(record_id)
            yield record_id, record

    def _text(self, where: str, value: object) -> str:
        if isinstance(value, str) and len(value.strip()) > MAX_CHARACTERS:
            self.cut += 1
        try:
            return plain_text(value)
        except ValueError as error:
            raise _Bad(where, str(error)) from None

    def _answer(self, where: str, value: object) -> str:
        try:
            return self.schema.answer(value)
        except ValueError as error:
            raise _Bad(where, str(error)) from None

    def _fault(self, file: str, record: str, where: str, problem: str) -> None:
        self.faults.append(Fault(file, record, where, problem))

    def _close(self, data: TaskData) -> None:
        if not data.queries:
            some = "; ".join(str(fault) for fault in self.faults[:3])
            raise HarnessError(f"{self.names.questions}: no usable record. {len(self.faults)} faults: {some or 'none'}")
        empty = sum(not history for history in data.histories.values())
        if empty:
            data.notes.append(f"{empty} of {len(data.histories)} users have an empty history")
        if self.cut:
            data.notes.append(f"{self.cut} texts were cut to {MAX_CHARACTERS} characters")
