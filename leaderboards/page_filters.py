"""Numbers and names as the pages show them; registered as filters of the templates."""

from __future__ import annotations

import json
from typing import Any

DASH = "–"


def number(value: float) -> str:
    """Three decimals, with a true minus sign; what rounds to zero has none."""
    return signed(value).removeprefix("+")


def signed(value: float) -> str:
    """Three decimals with their sign."""
    return "0.000" if round(value, 3) == 0 else f"{value:+.3f}".replace("-", "−")


def p_value(value: float) -> str:
    """`p = 0.012`, or a bound where the digits would show none."""
    digits = 3 if f"{value:.2g}" == "0.05" else 2  # on which side of it is what counts
    return "p < 0.001" if value < 0.001 else f"p = {value:.{digits}g}" if value < 0.995 else "p = 1"


def seconds(value: float) -> str:
    """A duration: 0.4 s, 12 s, 3 min 20 s, 1 h 5 min."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def count(value: float | None) -> str:
    """Thousands and millions: 950, 12.3k, 4.56M."""
    if value is None:
        return DASH
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{_three_digits(value / size)}{unit}"
    return f"{value:.0f}"


def size(value: float | None) -> str:
    """Bytes in binary units."""
    if value is None:
        return DASH
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2**power:
            return f"{_three_digits(value / 2**power)} {unit}"
    return f"{value:.0f} B"


def share(value: float | None) -> str:
    """A share of 1 as a percentage."""
    return DASH if value is None else "<0.01%" if 1e-9 < value < 1e-4 else f"{_three_digits(100 * round(value, 6))}%"


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent."""
    return f"{value + 0:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def plain(value: Any) -> str:
    """A setting's value: text as it is, None as a dash, the rest as JSON."""
    return DASH if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


FILTERS = {
    "number": number,
    "signed": signed,
    "p_value": p_value,
    "seconds": seconds,
    "count_of": count,
    "size": size,
    "share": share,
    "plain": plain,
}
