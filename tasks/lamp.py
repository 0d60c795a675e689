"""The LaMP tasks, over a directory of LaMP files; LaMP-2, 3 and 7 over the synthetic world as well."""

import hashlib
from typing import ClassVar

from harness.api import HistoryItem, Metric, MissingError, Query, Task, TaskData, home
from harness.tasks.lamp_directory import read, splits
from harness.tasks.lamp_schema import RATINGS, REFERENCES, SCHEMAS
from harness.tasks.metrics import ACCURACY, MAE, RMSE, macro_f1, rouge
from harness.tasks.own_prompts import LAMP_1, LAMP_4, LAMP_5, LAMP_6
from harness.tasks.prompts import LAMP_2, LAMP_3, LAMP_7, MOVIE_TAGS

SYNTHETIC = "synthetic"
SYNTHETIC_TASKS = ("lamp2", "lamp3", "lamp7")
SYNTHETIC_SPLITS = ("train", "dev", "tune")
SYNTHETIC_USERS = 300  # per split, two queries each
_WRAPPING = " \t\"'“”‘’`.*"


class Lamp(Task):
    """What the tasks share; subclasses say what their answers are."""

    def load(self, source: str, split: str) -> TaskData:
        """Read a LaMP directory (see tasks/lamp_layout.py; ~ is the home), or make 300 users a split of "synthetic".

        A directory with only one split of the task yields that one, whatever was asked for: compare `TaskData.split`.
        Raises MissingError if the task, the split or its golds are not there, HarnessError if nothing is usable.
        """
        if source != SYNTHETIC:
            return read(SCHEMAS[self.name], home(source), split)
        self._require_synthetic()
        return _synthetic(self.name, split)

    def splits(self, source: str) -> tuple[str, ...]:
        """The splits there are, those that cannot be read or scored included. Raises as `load` without the task."""
        if source != SYNTHETIC:
            return splits(SCHEMAS[self.name], home(source))
        self._require_synthetic()
        return SYNTHETIC_SPLITS

    def supervise(self, item: HistoryItem) -> tuple[str | None, str] | None:
        """The item's text and its label."""
        return item.text, item.label

    def parse(self, output: str) -> tuple[str, bool]:
        """The label that the first non-empty line names, case, quotes and full stop aside; else that line and False."""
        line = first_line(output)
        named = line.strip(_WRAPPING).casefold()
        return (named, True) if named in self.labels else (line, False)

    def _require_synthetic(self) -> None:
        if self.name not in SYNTHETIC_TASKS:
            raise MissingError(f"{self.name}: there is no synthetic data. {SCHEMAS[self.name].how_to_get}")


class Lamp1(Lamp):
    """Personalized citation identification: which of two references a paper cites, [1] or [2]."""

    name: ClassVar[str] = "lamp1"
    title: ClassVar[str] = "LaMP-1: personalized citation identification"
    version: ClassVar[str] = "1"
    prompts = LAMP_1
    labels = REFERENCES
    metrics: tuple[Metric, ...] = (ACCURACY,)
    max_new_tokens = 8  # a space, a quote, a digit in brackets, a full stop

    def load(self, source: str, split: str) -> TaskData:
        """As the others, with a note on what its histories lack."""
        data = super().load(source, split)
        data.notes.append("LaMP-1 histories name no references: only --regime unseen has examples to learn from")
        return data

    def supervise(self, item: HistoryItem) -> None:
        """Nothing: the history names an author's papers, not what they cite, so any question would be made up."""
        return None


class Lamp2(Lamp):
    """Personalized movie tagging: one of 15 tags."""

    name: ClassVar[str] = "lamp2"
    title: ClassVar[str] = "LaMP-2: personalized movie tagging"
    version: ClassVar[str] = "1"
    prompts = LAMP_2
    labels = MOVIE_TAGS
    metrics: tuple[Metric, ...] = (ACCURACY, macro_f1(MOVIE_TAGS))
    max_new_tokens = 16  # the longest tag has 17 characters; subword vocabularies need at most half as many tokens


class Lamp3(Lamp):
    """Personalized product rating: 1 to 5."""

    name: ClassVar[str] = "lamp3"
    title: ClassVar[str] = "LaMP-3: personalized product rating"
    version: ClassVar[str] = "1"
    prompts = LAMP_3
    labels = RATINGS
    metrics: tuple[Metric, ...] = (MAE, RMSE)
    max_new_tokens = 4  # a space, a quote, the digit, a full stop


class FreeText(Lamp):
    """What the tasks share whose answers are one line of any text."""

    metrics: tuple[Metric, ...] = (rouge("rouge1"), rouge("rougeL"))
    max_new_tokens = 64  # the longest of 400 real tweets has 148 characters, 32 words; titles have about 10

    def parse(self, output: str) -> tuple[str, bool]:
        """The first non-empty line; any text will do."""
        line = first_line(output)
        return line, bool(line)


class Lamp4(FreeText):
    """Personalized news headline generation."""

    name: ClassVar[str] = "lamp4"
    title: ClassVar[str] = "LaMP-4: personalized news headline generation"
    version: ClassVar[str] = "1"
    prompts = LAMP_4


class Lamp5(FreeText):
    """Personalized scholarly title generation from an abstract."""

    name: ClassVar[str] = "lamp5"
    title: ClassVar[str] = "LaMP-5: personalized scholarly title generation"
    version: ClassVar[str] = "1"
    prompts = LAMP_5


class Lamp6(FreeText):
    """Personalized e-mail subject generation, for holders of the licensed Avocado corpus."""

    name: ClassVar[str] = "lamp6"
    title: ClassVar[str] = "LaMP-6: personalized e-mail subject generation"
    version: ClassVar[str] = "1"
    prompts = LAMP_6


class Lamp7(FreeText):
    """Personalized tweet paraphrasing: free text, one line."""

    name: ClassVar[str] = "lamp7"
    title: ClassVar[str] = "LaMP-7: personalized tweet paraphrasing"
    version: ClassVar[str] = "1"
    prompts = LAMP_7

    def supervise(self, item: HistoryItem) -> tuple[str | None, str]:
        """No query, since the history holds answers only; the tweet on one line, as answers are."""
        return None, " ".join(item.text.splitlines())


TASKS: tuple[type[Lamp], ...] = (Lamp1, Lamp2, Lamp3, Lamp4, Lamp5, Lamp6, Lamp7)


def first_line(output: str) -> str:
    """The first line with anything on it, stripped; "" if there is none."""
    return next((line for line in map(str.strip, output.splitlines()) if line), "")


def _synthetic(task: str, split: str) -> TaskData:
    from harness.tasks.synthetic.world import synthetic_user

    if split not in SYNTHETIC_SPLITS:
        raise MissingError(f"the synthetic world has no split {split!r}; there are: {', '.join(SYNTHETIC_SPLITS)}")
    data = TaskData(split=split, histories={}, queries=[], golds={})
    digest = hashlib.sha256()
    for index in range(SYNTHETIC_USERS):
        user = synthetic_user(task, split, index)
        data.histories[user.id] = user.history
        for number, query in enumerate(user.queries):
            query_id = f"{user.id}-q{number}"
            data.queries.append(Query(query_id, user.id, query.text))
            data.golds[query_id] = query.personal
        digest.update(repr((user.id, user.history, user.queries)).encode())
    data.notes.append("synthetic users: a test instrument, not evidence about people or real language models")
    data.fingerprint = digest.hexdigest()
    return data
