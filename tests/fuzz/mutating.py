"""Mutations of valid inputs: bytes that break, and structures that parse but are not what a reader expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = 20_000  # nested brackets: more than any parser's recursion
TOKENS = (
    *(b"", b"null", b"true", b"-1", b"0", b"1.5", b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 5_000),
    *(b'""', b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\x1b[2J"),
    *(b"{", b"}", b"[", b"]", b"[[[[", b"{}", b"[]", b",", b":", b'"', b"'", b"\\", b"#", b"-", b"=", b"%", b"~"),
    *(b"&a ", b"*a ", b"<<: *a", b"!!python/object:os.system ", b"!!binary x", b"!!set {a, b}", b"? [a]", b"---", b"|"),
    *(b"2001-99-99", b"2001-01-01", b"1:59:59", b"0x_", b"1_000", b".inf", b".nan", b"yes", b"\t", b"@", b"`"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 10**30, -(10**400), 1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "\ud800",
        "\x00",
        "\x1b]0;x\x07",
        "0",
        "11.0",
        "1e400",
        "nan",
        "\u202e",
        "a" * 30_000,
        "[red]",
        "~",
        "/",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"\ud800": 1},
        {"id": 1},
        [1, "a", None, {}],
        ["\udfff"],
        [True],
        {"value": {}},
    ),
)


def mutated(content: bytes, random: Random) -> bytes:
    """One to four mutations of `content`; where it is JSON, about half of them of its structure."""
    steps: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _insert, _repeat, _nest, _structure)
    weights = (2, 1, 3, 1, 1, 14)
    for _ in range(random.choice((1, 1, 2, 4))):
        [step] = random.choices(steps, weights)
        content = step(content, random)
    return content


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    start, end = sorted(random.randint(0, len(content)) for _ in range(2))
    return random.choice((content[:end], content[start:], content[:start] + content[end:]))


def _insert(content: bytes, random: Random) -> bytes:
    place = random.randint(0, len(content))
    return content[:place] + random.choice(TOKENS) + content[place + random.choice((0, 0, 1, 5)) :]


def _repeat(content: bytes, random: Random) -> bytes:
    start = random.randint(0, len(content))
    piece = content[start : start + random.randint(1, 200)]
    return content[:start] + piece * random.randint(2, 50) + content[start:]


def _nest(content: bytes, random: Random) -> bytes:
    opening = random.choice((b"[", b'{"a":', b"- ", b"(", b"a: {b: "))
    place = random.randint(0, len(content))
    return content[:place] + opening * random.choice((3, 60, DEEP)) + content[place:]


def _structure(content: bytes, random: Random) -> bytes:
    """Change one value, key or element of JSON; what is no JSON gets a token instead."""
    try:
        loaded = json.loads(content)
    except (ValueError, RecursionError):
        return _insert(content, random)
    places = list(_places(loaded))
    if not places:
        return json.dumps(random.choice(VALUES)).encode()
    holder, key = random.choice(places)
    what = random.randrange(5)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        value = holder.pop(key)
        holder[random.choice([*holder, "x"])] = value
    elif what == 2:
        other, place = random.choice(places)
        holder[key] = json.loads(json.dumps(other[place]))
    else:
        holder[key] = random.choice(VALUES)
    text = json.dumps(loaded)
    if what == 4 and '"id"' in text:
        text = text.replace('"id"', '"id": 7, "id"', 1)  # a key twice
    return text.encode()


def _places(value: Any) -> Any:
    """(holder, key) of everything inside a value, to any depth."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])
