"""Numbers as people read them: no minus before a zero, no exponent, no nan."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.formatting import DASH, bounds, listed, markdown, memory, number, p_value, rounded, seconds, share, signed

ANY = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1, 1) | st.floats(-1e-6, 1e-6)
FORMATTERS = [number, signed, rounded, share, seconds, p_value, memory]


@pytest.mark.parametrize("show", FORMATTERS, ids=lambda show: show.__name__)
def test_no_text_has_an_exponent_a_nan_or_a_signed_zero(show):
    @given(ANY)
    def check(value):
        text = show(value)
        assert not re.search(r"\de[+-]?\d|nan|inf", text)
        for written in re.findall(r"[+-][\d.]+", text):
            assert float(written) != 0
        if not math.isfinite(value):
            assert text in (DASH, "p unknown")

    check()


@given(st.floats(-1e6, 1e6))
def test_what_is_shown_is_the_number(value):
    assert float(number(value)) == pytest.approx(value, abs=5.1e-4)
    assert float(signed(value)) == pytest.approx(value, abs=5.1e-4)
    assert float(rounded(value)) == pytest.approx(value, rel=0.051, abs=1e-9)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (share(1 - 0.9 - 0.1), "0%"),
        (share(-1.11e-16), "0%"),
        (share(1 / 3), "33.3%"),
        (share(1.0), "100%"),
        (share(12.5), "1250%"),
        (share(3e-5), "<0.01%"),
        (share(None), DASH),
        (number(-0.0001), "0.000"),
        (signed(-0.0004), "0.000"),
        (signed(0.25), "+0.250"),
        (signed(-0.004, 2), "0.00"),
        (bounds((-0.0001, 0.5)), "[0.000, 0.500]"),
        (rounded(1.2e-5), "0.000012"),
        (rounded(123456.0), "120000"),
        (seconds(-1e-9), "0.00 s"),
        (seconds(59.97), "1 min"),
        (seconds(3599.7), "1 h"),
        (p_value(math.nan), "p unknown"),
        (p_value(0.0496), "p = 0.0496"),  # beside ALPHA the side counts
        (p_value(0.0504), "p = 0.0504"),
        (p_value(0.049995), "p = 0.04999"),
        (p_value(0.050004), "p = 0.050004"),
        (p_value(0.05), "p = 0.05"),
        (memory(99.7 * 2**10), "100 KiB"),
    ],
)
def test_by_example(shown, text):
    assert shown == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00 s"), (0.434, "0.43 s"), (59.4, "59.4 s"), (60, "1 min"), (200, "3 min 20 s"), (3900, "1 h 5 min")],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_numbers_in_words() -> None:
    assert [p_value(p) for p in (0.0001, 0.0123, 0.999)] == ["p < 0.001", "p = 0.012", "p = 1"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c"),
    ]
    assert [memory(size) for size in (614.4, 1536, 2**29, 3 * 2**30)] == [
        *("614 B", "1.5 KiB", "512 MiB", "3.00 GiB"),
    ]
    assert share(None) == "–"
    assert markdown("llm_rec _x_ ## `c`") == "llm_rec \\_x\\_ \\#\\# \\`c\\`"
