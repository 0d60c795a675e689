"""The records of the LaMP schema, read one by one: a bad record is named and skipped, the others survive.

Pure functions over loaded JSON. Schema: questions `[{"id", "input", "profile": [{"id", ...}]}]`, outputs
`{"task", "golds": [{"id", "output"}]}` and, ours, users `{question id: user id}` (Salemi et al. 2024, Appendix).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.api import Fault, HarnessError, Query, TaskData
from harness.tasks.lamp_profiles import BadFieldError, Profiles, require_distinct
from harness.tasks.lamp_schema import MAX_CHARACTERS, Repetitive, Schema, identifier, kind_of, plain_text

_SHOWN = 3  # faults that an error names
_TELLING = 3  # items of a history that two people do not share by chance


@dataclass(frozen=True)
class Names:
    """What the three files are called in reports."""

    questions: str
    outputs: str
    users: str


def parse(schema: Schema, names: Names, questions: object, outputs: object, users: object | None) -> TaskData:
    """Histories, queries and golds of every good record; `split` and `fingerprint` are left for the caller.

    Texts and answers are stripped of surrounding white space and cut at MAX_CHARACTERS (counted in `notes`). A user is
    whom `users` names, else whom the question's `user_id` names, else the first question that shows the same profile. A
    user's history is the union of the profiles of the user's good questions, in file order. A user with an empty
    history is kept (a cold start, counted in `notes`). Raises HarnessError if the files do not belong together, or if
    no question or, where there are any, no history item is usable.
    """
    return _Reader(schema, names).read(questions, outputs, users)


@dataclass
class _Reader:
    schema: Schema
    names: Names
    faults: list[Fault] = field(default_factory=list)
    cut: int = 0
    user_field: str = "user_id"
    nobody: int = 0  # questions without a user_id
    alike: int = 0  # questions whose user only their profile tells
    named_twice: set[str] = field(default_factory=set)  # questions of which the users file says so more than once
    strays: int = 0  # entries of the users file that are of no question

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
        profiles = Profiles(self.schema, self.names.questions, self.faults)
        owners = self._users(records, users)
        data.names_users = users is not None or self.nobody < len(records)
        self._questions(records, golds, owners, profiles, data)
        self._close(data, profiles, records, len(questions))
        return data

    def _questions(
        self,
        records: dict[str, dict],
        golds: dict[str, str],
        users: dict[str, object],
        profiles: Profiles,
        data: TaskData,
    ) -> None:
        for record_id, record in records.items():
            try:
                require_distinct(record)
                if record_id not in golds:
                    raise BadFieldError("id", f"no usable gold in {self.names.outputs}")
                query = Query(record_id, self._user(record_id, users), self._asked(record))
                profile = record.get("profile")
                if not isinstance(profile, list):
                    raise BadFieldError("profile", f"is {kind_of(profile)}, not a list")
            except BadFieldError as bad:
                self._fault(self.names.questions, record_id, bad.field, str(bad))
                continue
            data.queries.append(query)
            data.golds[query.id] = golds[query.id]
            profiles.add(query.user, record_id, profile)
        data.histories.update(profiles.histories())

    def _asked(self, record: dict) -> str:
        text = record.get("input")
        if not isinstance(text, str):
            raise BadFieldError("input", f"is {kind_of(text)}, not text")
        try:
            asked = self.schema.query(text)
            self.cut += len(asked.strip()) > MAX_CHARACTERS
            return plain_text(asked)
        except ValueError as error:
            raise BadFieldError("input", str(error)) from None

    def _users(self, records: dict[str, dict], users: dict | None) -> dict[str, object]:
        """Users by question id: those of the users file if there is one, else the questions' own."""
        if users is not None:
            self.user_field = "user"
            return self._named(records, users)
        named = {key: record["user_id"] for key, record in records.items() if record.get("user_id") is not None}
        self.nobody = len(records) - len(named)
        # Beside real user ids, a question's id could be that of somebody else.
        alone = "{}, a question without a user" if named else "{}"
        found: dict[str, object] = {}
        met: dict[tuple[tuple[str, str], ...], str] = {}
        for key, record in records.items():
            if key in named:
                found[key] = named[key]
                continue
            own, shown = alone.format(key), self._shown(record)
            found[key] = met.setdefault(shown, own) if len(shown) >= _TELLING else own
            self.alike += found[key] != own
        return found

    def _named(self, records: dict[str, dict], users: dict) -> dict[str, object]:
        named: dict[str, object] = {}
        repeated = users.repeated if isinstance(users, Repetitive) else ()
        for key, user in users.items():
            question = _canonical(key)
            if question in named or key in repeated:
                self.named_twice.add(question)
            named[question] = user
        strays = [key for key in named if key not in records]
        for key in strays:
            self._fault(self.names.users, key, "id", "no question has this id")
        self.strays = len(strays)
        return named

    def _shown(self, record: dict) -> tuple[tuple[str, str], ...]:
        """What a question's profile holds, whatever its order and ids."""
        profile = record.get("profile")
        items = [item for item in profile if isinstance(item, dict)] if isinstance(profile, list) else []
        text, label = self.schema.text_key, self.schema.label_key
        return tuple(sorted((str(item.get(text)), str(item.get(label))) for item in items))

    def _user(self, record_id: str, users: dict[str, object]) -> str:
        if record_id not in users:
            raise BadFieldError("user", f"{self.names.users} names no user for it")
        if record_id in self.named_twice:
            raise BadFieldError("user", f"{self.names.users} names its user more than once")
        try:
            return identifier(users[record_id])
        except ValueError as error:
            where = f"in {self.names.users} " if self.user_field == "user" else ""
            raise BadFieldError(self.user_field, f"{where}{error}") from None

    def _golds(self, outputs: object) -> tuple[dict[str, str], set[str]]:
        """Usable golds by id, and every id that the file names."""
        name = self.names.outputs
        records = outputs.get("golds") if isinstance(outputs, dict) else None
        if not isinstance(outputs, dict) or not isinstance(records, list):
            raise HarnessError(f'{name}: expected {{"task": "{self.schema.folder}", "golds": [{{"id", "output"}}]}}')
        if isinstance(outputs, Repetitive):
            raise HarnessError(f"{name}: gives {', '.join(outputs.repeated)[:80]!r} more than once")
        task = outputs.get("task")
        if task != self.schema.folder:
            found = repr(task[:40]) if isinstance(task, str) else kind_of(task)
            raise HarnessError(f"{name}: its task is {found}, expected {self.schema.folder!r}")
        golds: dict[str, str] = {}
        named: set[str] = set()
        for record_id, record in self._records(name, records):
            named.add(record_id)
            try:
                require_distinct(record)
                golds[record_id] = self.schema.answer(record.get("output"))
            except BadFieldError as bad:
                self._fault(name, record_id, bad.field, str(bad))
            except ValueError as error:
                self._fault(name, record_id, "output", str(error))
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

    def _fault(self, file: str, record: str, where: str, problem: str) -> None:
        self.faults.append(Fault(file, record, where, problem))

    def _close(self, data: TaskData, profiles: Profiles, records: dict[str, dict], asked: int) -> None:
        file = self.names.questions
        if not data.queries:
            self._require_this_task(records)
            raise HarnessError(f"{file}: no usable record. {self._some_faults()}")
        if profiles.found and not any(data.histories.values()):
            raise HarnessError(
                f"{file}: none of its {profiles.found} history items can be used, so there is nothing to personalize "
                f"with. {self._some_faults()}"
            )
        data.items_found, data.items_skipped = profiles.found, profiles.skipped
        data.notes += profiles.notes()
        if len(data.queries) < asked:
            lost = asked - len(data.queries)
            data.notes.append(f"{lost} of {asked} questions could not be used (`harness data check` says why)")
        if self.strays:
            data.notes.append(f"{self.strays} entries of {self.names.users} are of no question")
        if self.nobody and data.names_users:
            data.notes.append(f"{self.nobody} questions carry no user_id: each counts as a user of its own")
        if self.alike:
            data.notes.append(
                f"{self.alike} questions count as those of users met before: no file says whose they are, but they "
                "show the same history"
            )
        if cut := self.cut + profiles.cut:
            data.notes.append(f"{cut} texts were cut to {MAX_CHARACTERS} characters")

    def _require_this_task(self, records: dict[str, dict]) -> None:
        words, what = self.schema.former
        inputs = [str(record.get("input", "")).casefold() for record in records.values()]
        if words and 2 * sum(words in text for text in inputs) > len(inputs):
            raise HarnessError(f"{self.names.questions}: {what}. {self.schema.how_to_get}")

    def _some_faults(self) -> str:
        if not self.faults:
            return "It holds none at all"
        some = "; ".join(str(fault) for fault in self.faults[:_SHOWN])
        return f"{len(self.faults)} fault{'s' * (len(self.faults) > 1)}: {some}"


def _canonical(key: str) -> str:
    """A question's id as `identifier` has it; one that is none matches no question."""
    try:
        return identifier(key)
    except ValueError:
        return key
