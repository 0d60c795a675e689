"""Numbers and foreign text as tables and sentences show them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def number(value: float) -> str:
    """Three decimals: metrics."""
    return f"{value:.3f}"


def share(value: float | None) -> str:
    """A share of 1 as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.3g}%"


def seconds(value: float) -> str:
    """A duration: 0.43 s, 12.4 s, 3 min 20 s, 1 h 5 min."""
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def p_value(value: float) -> str:
    """`p = 0.012`, or a bound where three decimals would show zero."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}" if value < 0.995 else "p = 1"


def memory(value: float) -> str:
    """Bytes as B, KiB, MiB or GiB."""
    if value >= 2**30:
        return f"{value / 2**30:.2f} GiB"
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f} B"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def plain(text: str) -> str:
    """One line without control characters, which could otherwise steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def markdown(text: str) -> str:
    """`plain` text with everything escaped that Markdown or HTML would read as markup."""
    escaped = re.sub(r"([\\`*\[\]<>|#~&])", r"\\\1", plain(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)
