"""The fields of the LaMP schema: where each task keeps them, and which values they may hold."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from harness.tasks.prompts import MOVIE_TAGS

# Four times the longest review seen in Amazon data; longer texts are cut so that one item cannot stall a run.
MAX_CHARACTERS = 20_000
MAX_ID = 500  # characters
_WHOLE = re.compile(r"-?[0-9]+\.0+")  # what pandas makes of whole numbers in a column with a gap
REFERENCES = ("[1]", "[2]")
RATINGS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Schema:
    """Where a LaMP task keeps its fields."""

    folder: str  # also the task's name in the outputs file
    address: str | None  # its folder at LaMP's own address; None if the files are not published
    query: Callable[[str], str]  # the query text out of a question's input; raises ValueError
    text_key: str
    label_key: str  # "" where profile items carry no label
    answer: Callable[[object], str]  # a gold or a label in its canonical form; raises ValueError
    former: tuple[str, str] = ("", "")  # words in the questions of another task of this folder, and what it was

    @property
    def how_to_get(self) -> str:
        """A sentence on where the files come from."""
        if self.address is None:
            return (
                f"{self.folder} cannot be downloaded: its e-mails are the Avocado collection (LDC2015T03), which the "
                "LDC licenses. With a copy, LaMP's create_avocado_dataset.py writes the files that --data DIR reads."
            )
        return f"`harness data fetch {self.folder.replace('_', '').lower()}` downloads the files that --data DIR reads."


def after(marker: str, text: str) -> str:
    """What follows `marker`, which ends the official instruction, whatever its case. Raises ValueError without it."""
    return _split(text, marker)[1]


def citation(text: str) -> str:
    """The paper and the two references of a LaMP-1 question: `"title" [1]: "reference" [2]: "reference"`.

    Officially: `For an author who has written the paper with the title "...", which reference is related? Just answer
    with [1] or [2] without explanation. [1]: "..." [2]: "..."`. Raises ValueError for anything else.
    """
    _, rest = _split(text, "paper with the title")
    title, rest = _split(rest, "which reference is related?")
    first, second = _split(_split(rest, "[1]:")[1], "[2]:")
    return f"{title.strip().removesuffix(',')} [1]: {first.strip()} [2]: {second.strip()}"


def _split(text: str, marker: str) -> tuple[str, str]:
    # At the first one, as in LaMP's own extract_after_*; the query may contain the words again.
    found = re.search(re.escape(marker), text, re.IGNORECASE)
    if not found:
        raise ValueError(f"has no {marker!r} before the query")
    return text[: found.start()], text[found.end() :]


def movie_tag(value: object) -> str:
    """One of the 15 tags, whatever its case. Raises ValueError for anything else."""
    text = plain_text(value)
    if text.casefold() not in MOVIE_TAGS:
        raise ValueError(f"{text[:40]!r} is none of the 15 tags")
    return text.casefold()


def rating(value: object) -> str:
    """ "1" to "5" from text or a number, 4.0 and "4.0" included. Raises ValueError for anything else."""
    if isinstance(value, str):
        text = plain_text(value).removesuffix(".0")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value in (1, 2, 3, 4, 5):
        text = str(int(value))
    else:
        raise ValueError("is no whole number from 1 to 5")
    if text not in RATINGS:
        raise ValueError(f"{text[:40]!r} is no whole number from 1 to 5")
    return text


def choice(value: object) -> str:
    """ "[1]" or "[2]". Raises ValueError for anything else."""
    text = plain_text(value)
    if text not in REFERENCES:
        raise ValueError(f"{text[:40]!r} is neither [1] nor [2]")
    return text


def one_line(value: object) -> str:
    """Text on one line, as answers are: a headline, a title or a subject. Raises ValueError as `plain_text` does."""
    return " ".join(plain_text(value).split())


def tweet(value: object) -> str:
    """Text on one line, as answers are, with the spaces that it has. Raises ValueError as `plain_text` does."""
    return " ".join(plain_text(value).splitlines())


def plain_text(value: object) -> str:
    """Stripped text. Raises ValueError if it is no text, empty, or no valid Unicode."""
    if not isinstance(value, str):
        raise ValueError(f"is {kind_of(value)}, not text")
    text = value.strip()[:MAX_CHARACTERS].rstrip()
    if not text:
        raise ValueError("is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"is no valid Unicode (lone surrogate at character {error.start})") from None
    return text


def identifier(value: object) -> str:
    """An id as text. Whole numbers are accepted, since some exports lose the quotes: 11, 11.0 and "11.0" are "11".

    Raises ValueError for other numbers, for what `plain_text` refuses, for NUL, and for more than MAX_ID characters.
    """
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("is no whole number")
        if abs(value) > 2**53:
            raise ValueError("is too large a number to be exact: write it as text")
        return str(int(value))
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else plain_text(value)
    if len(text) > MAX_ID:
        raise ValueError(f"is longer than {MAX_ID} characters")
    if "\0" in text:  # at the end of a text NumPy takes it for padding, so that two ids would be one
        raise ValueError("is text with a NUL character")
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def kind_of(value: object) -> str:
    """What a JSON value is, in words, for messages."""
    names = {list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    if isinstance(value, dict):
        return "an object"
    return "missing" if value is None else names.get(type(value), "something else")


class Repetitive(dict[str, object]):
    """A JSON object that gives a key more than once, so that what it says is open; `repeated`: these keys."""

    def __init__(self, pairs: Sequence[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def as_object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """What `json.loads` makes of an object, as its `object_pairs_hook`: a Repetitive one where a key is there twice."""
    made = dict(pairs)
    return made if len(made) == len(pairs) else Repetitive(pairs)


SCHEMAS = {
    # LaMP's own prompts show the titles of an author's papers and leave their abstracts out.
    "lamp1": Schema("LaMP_1", "LaMP_1", citation, "title", "", choice),
    # Beside new/ are the files of an earlier LaMP-2, news categorization.
    "lamp2": Schema(
        "LaMP_2",
        "LaMP_2/new",
        partial(after, "description:"),
        "description",
        "tag",
        movie_tag,
        former=("article:", "these are the earlier news categories; the movie tags are in LaMP_2/new"),
    ),
    "lamp3": Schema("LaMP_3", "LaMP_3", partial(after, "review:"), "text", "score", rating),
    "lamp4": Schema("LaMP_4", "LaMP_4", partial(after, "article:"), "text", "title", one_line),
    "lamp5": Schema("LaMP_5", "LaMP_5", partial(after, "of a paper:"), "abstract", "title", one_line),
    "lamp6": Schema("LaMP_6", None, partial(after, "email:"), "text", "title", one_line),
    "lamp7": Schema("LaMP_7", "LaMP_7", partial(after, "explanation before or after it:"), "text", "", tweet),
}
