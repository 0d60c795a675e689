"""Says what differs from a baseline, so that a person can judge whether it was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.formatting import plain
from harness.gate.baseline import Answer
from harness.gate.differences import Changed, ChangedAnswer, Difference

SHOWN = 4  # changed answers of a cell; the rest is counted
_CHARACTERS = 90


def lines(differences: Sequence[Difference]) -> Iterator[str]:
    """The differences as text, cell by cell, without the control characters that ids and names may hold."""
    return map(plain, _lines(differences))


def _lines(differences: Sequence[Difference]) -> Iterator[str]:
    for difference in differences:
        yield f"{'tolerated' if difference.tolerated else 'DIFFERENT'}  {difference.key}"
        width = max((len(value.name) for value in difference.values), default=0)
        for value in difference.values:
            yield f"    {value.name:<{width}}  expected {_value(value.expected)}, got {_value(value.got)}{_by(value)}"
        yield from _answers(difference)


def provenance(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What was not the same when the baseline was made, as far as both sides know it."""
    for name, old in before.items():
        if name in now and now[name] != old:
            yield plain(f"{name}: {old} when the baseline was made, {now[name]} here")


def _answers(difference: Difference) -> Iterator[str]:
    changed = difference.answers
    if not changed:
        return
    users = list(dict.fromkeys(change.user for change in changed))
    named = ", ".join(users[:8]) + (f" and {len(users) - 8} more" if len(users) > 8 else "")
    answers = [change for change in changed if change.answered_otherwise]
    prompts = sum(change.asked_otherwise for change in changed)
    asked = f" and {prompts} prompts" if prompts else ""
    yield f"    {len(answers)} of {difference.total} answers{asked} changed; users {named}"
    for change in sorted(changed, key=lambda change: not change.answered_otherwise)[:SHOWN]:
        yield f"      {_what(change)}"
    if len(changed) > SHOWN:
        yield f"      ... and {len(changed) - SHOWN} more"


def _what(change: ChangedAnswer) -> str:
    old, new = change.expected, change.got
    if old is None or new is None:
        known = old or new
        assert known is not None
        return f"{known.query}: {'no longer asked' if new is None else 'not in the baseline'}: {_shown(known.output)}"
    if old.output != new.output:
        return f"{new.query}: {_shown(old.output)} -> {_shown(new.output)}"
    if old.prediction != new.prediction:
        return f"{new.query}: the same output, read as {_shown(new.prediction)} instead of {_shown(old.prediction)}"
    return f"{new.query}: the same output to another prompt, user {_user(old, new)}"


def _user(old: Answer, new: Answer) -> str:
    return new.user if old.user == new.user else f"{new.user} instead of {old.user}"


def _shown(text: str) -> str:
    line = plain(text)
    return f'"{line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 3] + "..."}"'


def _value(value: float | str | None) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _by(value: Changed) -> str:
    if isinstance(value.expected, float) and isinstance(value.got, float):
        return f" ({value.got - value.expected:+.3g})"
    return ""
