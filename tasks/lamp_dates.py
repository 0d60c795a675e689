"""Dates of history items. LaMP writes 2016-08-15 or 2014; other exports write whatever they have."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DAY = re.compile(r"(\d{4})(?:[-/.](\d{1,2}))?(?:[-/.](\d{1,2}))?")
_OTHERS = ("%m %d, %Y", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%a %b %d %H:%M:%S %Y")
_ZONE = re.compile(r" (?:[A-Z]{3,4})(?= \d{4}$)")  # "Mon Apr 06 22:19:45 PDT 2009", as tweets have it
_SECONDS = range(10**8, 10**11)  # Unix times from 1973 on; below are years and days, above milliseconds


def moment(value: object) -> str:
    """A date as ISO 8601 text, UTC, no more precise than it was given: texts sort as times do. "" for None and "".

    Read are a year, a month or a day ("2016", "2016-08", "2016/8/15", 20160815), ISO 8601 times, Unix times in seconds
    or milliseconds, and the forms of e-mails, tweets and Amazon's reviews. Raises ValueError for anything else.
    """
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is no date")
    try:
        return _text(value.strip()) if isinstance(value, str) else _number(value)
    except (ValueError, OverflowError, TypeError):
        raise ValueError(f"{str(value)[:40]!r} is no date" if isinstance(value, str) else "is no date") from None


def _number(value: float) -> str:
    whole = int(value)
    if whole in _SECONDS:
        return _iso(datetime.fromtimestamp(whole, UTC))
    if whole // 1000 in _SECONDS:
        return _iso(datetime.fromtimestamp(whole / 1000, UTC))
    if whole != value or not 0 < whole < 10**8:
        raise ValueError
    return _text(str(whole))


def _text(text: str) -> str:
    if found := _DAY.fullmatch(text):
        parts = [int(part) for part in found.groups() if part]
        year, month, day = [*parts, 1, 1][:3]
        datetime(year, month, day)  # raises for a 13th month
        return "-".join(f"{part:0{4 if place == 0 else 2}}" for place, part in enumerate(parts))
    if text.isdecimal() and len(text) > 8:
        return _number(int(text[:20]))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = _other(text)
    # Midnight without a zone is how exports write a day.
    day = time.tzinfo is None and (time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0)
    return time.date().isoformat() if day else _iso(time)


def _other(text: str) -> datetime:
    if len(text) > 60:
        raise ValueError
    for form in _OTHERS:
        try:
            return datetime.strptime(_ZONE.sub("", text), form)
        except ValueError:
            continue
    return parsedate_to_datetime(text)


def _iso(time: datetime) -> str:
    # Times without a zone are taken as UTC: a file's own times are compared with each other only.
    return (time.astimezone(UTC) if time.tzinfo else time).replace(tzinfo=None).isoformat()
