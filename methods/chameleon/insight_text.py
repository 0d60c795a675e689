"""What a model wrote as an insight, on one line that A.3's prompts can take up."""

import re
from collections.abc import Callable
from itertools import dropwhile

MAX_CHARACTERS = 1000

_OPENINGS = ("The user prefers", "Your answer should")  # A.3's words before [INSIGHT], which models like to repeat
_BULLET = re.compile(r"(?:[-*+•‣◦▪–—]|\(?\d{1,2}[.)]|#{1,6}|>)\s+")
_EMPHASIS = re.compile(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1")
_RULE = re.compile(r"[-=*_~]{3,}|(?:```|~~~)\w*")  # a line between paragraphs, a fence of code
_QUOTES = ('""', "''", "“”", "‘’", "«»", "„“", "``")


def clean_insight(output: str) -> str:
    """All that `output` says, on one line fit to stand between A.3's opening words and a full stop.

    Lines are joined by "; "; bullets, numbers, quotes around a line, markdown and A.3's opening words go, and so do
    lines before the content that end in a colon ("Sure! Here is what I see:"). No more than `MAX_CHARACTERS`; empty
    for white space only. Cleaning twice changes nothing.
    """
    return _settled(_join, output.strip())


def _join(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not _RULE.fullmatch(line)]
    said = list(dropwhile(_introduces, lines)) or lines
    parts = [_settled(_strip, line) for line in said]
    if len(parts) > 1:
        ended = (part.rstrip(" .;") for part in parts)
        parts = ["".join(part + (" " if part.endswith(":") else "; ") for part in ended if part).rstrip("; ")]
    return _cut("".join(parts)) or " ".join(text.split())


def _introduces(line: str) -> bool:
    """Whether more is to come after this line: a heading, or words that end in a colon, emphasized or not."""
    return line.rstrip("*_` ").endswith(":") or re.match(r"#{1,6}\s", line) is not None


def _strip(line: str) -> str:
    """One layer less around a line; the line itself where nothing would be left."""
    bare = _EMPHASIS.sub(r"\2", _BULLET.sub("", line.strip(), count=1) if _BULLET.match(line) else line.strip())
    end = bare.rstrip(" .")
    if len(end) > 2 and end[0] + end[-1] in _QUOTES and not set(end[1:-1]) & {end[0], end[-1]}:
        bare = end[1:-1]
    for opening in _OPENINGS:
        bare = bare.removeprefix(opening).lstrip(" :.")
    return bare.rstrip(" .") or line


def _cut(text: str) -> str:
    """The first `MAX_CHARACTERS` at most, up to the end of a word where there is one."""
    if len(text) <= MAX_CHARACTERS:
        return text
    kept = text[: MAX_CHARACTERS + 1].rpartition(" ")[0] or text[:MAX_CHARACTERS]
    return kept.rstrip(" .;")


def _settled(change: Callable[[str], str], text: str) -> str:
    """`change` again and again until it changes nothing."""
    while (changed := change(text)) != text:
        text = changed
    return text
