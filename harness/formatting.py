"""Numbers and foreign text as tables and sentences show them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

from harness.api import printable

DASH = "–"
_NOTHING = 1e-9  # what is smaller comes from rounding
_ALPHA = 0.05  # on which side of it a p is has to be seen


def number(value: float | None) -> str:
    """Three decimals: metrics. A dash for what is unknown; what rounds to zero has no sign."""
    return _fixed(value, "")


def signed(value: float | None, decimals: int = 3) -> str:
    """So many decimals with their sign: differences."""
    return _fixed(value, "+", decimals)


def bounds(interval: tuple[float, float], show: Callable[[float], str] = number) -> str:
    """`[0.100, 0.200]`."""
    return f"[{show(interval[0])}, {show(interval[1])}]"


def rounded(value: float | None, digits: int = 2) -> str:
    """So many significant digits, never with an exponent."""
    if value is None or not math.isfinite(value):
        return DASH
    return "0" if abs(value) < _NOTHING else format(Decimal(f"{value:.{digits}g}"), "f")


def share(value: float | None) -> str:
    """A share of 1 as a percentage; a dash for what is unknown."""
    if value is None or not math.isfinite(value):
        return DASH
    return "<0.01%" if _NOTHING < value < 1e-4 else f"{rounded(100 * round(value, 6), 3)}%"


def seconds(value: float) -> str:
    """A duration: 0.43 s, 12.4 s, 3 min 20 s, 1 h 5 min."""
    if not math.isfinite(value):
        return DASH
    if value < 1:
        return f"{_fixed(value, '', 2)} s"
    if value < 59.95:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def p_value(value: float) -> str:
    """`p = 0.012`, or a bound where three decimals would show zero."""
    if not math.isfinite(value):
        return "p unknown"
    digits = 2
    while value != _ALPHA and float(f"{value:.{digits}g}") == _ALPHA:
        digits += 1
    return "p < 0.001" if value < 0.001 else f"p = {value:.{digits}g}" if value < 0.995 else "p = 1"


def memory(value: float) -> str:
    """Bytes as B, KiB, MiB or GiB."""
    if not math.isfinite(value):
        return DASH
    if value >= 2**30:
        return f"{value / 2**30:.2f} GiB"
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 99.5 * size else f"{value / size:.0f} {unit}"
    return f"{round(value)} B"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def counted(count: int, noun: str) -> str:
    """`1 user`, `2 users`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain(text: str) -> str:
    """One line without control characters, which could otherwise steer a terminal."""
    return printable(text)


def markdown(text: str) -> str:
    """`plain` text with everything escaped that Markdown or HTML would read as markup."""
    escaped = re.sub(r"([\\`*\[\]<>|#~&])", r"\\\1", plain(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)


def _fixed(value: float | None, sign: str, decimals: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:{sign}.{decimals}f}"
    return text if any(digit in text for digit in "123456789") else f"{0:.{decimals}f}"
