"""What becomes of the insights that real models write: all of it kept, on one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.methods.chameleon.insight_text import MAX_CHARACTERS, clean_insight

PIECES = ["The user prefers", "Your answer should", "- ", "1. ", "**", "word ", *"ab .:;-*#>\"'`_\n1)(“”\x1c\u2028"]
WRITTEN = st.text() | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@pytest.mark.parametrize(
    ("output", "insight"),
    [
        ("The user prefers:\n- sci-fi\n- dark humour", "sci-fi; dark humour"),
        ("The user prefers:\n1. sci-fi.\n2) dark humour;", "sci-fi; dark humour"),
        ("* sci-fi\n• dark humour\n– old films", "sci-fi; dark humour; old films"),
        ("Sure! Here is the insight:\n\nThe user prefers sci-fi.", "sci-fi"),
        ("## Insight\n**Likes:**\n\n- **sci-fi** with `robots`\n---\n- drama", "sci-fi with robots; drama"),
        ("```text\nsci-fi\n```", "sci-fi"),
        ("Likes:\n- sci-fi\nTone:\n- dry", "sci-fi; Tone: dry"),
        ('"The user prefers sci-fi."', "sci-fi"),
        ("“sci-fi”\nand ‘old’ films", "sci-fi; and ‘old’ films"),
        ("They like sci-fi. They hate drama.\nThey rate low.", "They like sci-fi. They hate drama; They rate low"),
        ("The user prefers:", "The user prefers:"),
    ],
)
def test_lists_quotes_and_preambles_become_one_line_of_content(output, insight):
    assert clean_insight(output) == insight


@pytest.mark.parametrize(
    "line",
    [
        "upper case, full words, opening with nothing, ending with nothing",
        'harsh scores, "one lower" than the words; 3.5 stars *sigh* #tag @name 2) :-)',
        "a  b\tc: d - e",
    ],
)
def test_a_plain_line_stays_as_it_is(line):
    assert clean_insight(line) == line


@settings(deadline=None)
@given(WRITTEN)
def test_any_output_becomes_one_bounded_line_that_says_something_and_cleaning_again_changes_nothing(output):
    insight = clean_insight(output)
    assert bool(insight) == bool(output.strip())
    assert len(insight.splitlines()) <= 1
    assert len(insight) <= MAX_CHARACTERS
    assert clean_insight(insight) == insight


def test_a_long_insight_ends_at_a_word():
    insight = clean_insight("sci-fi films. " * 200)
    assert MAX_CHARACTERS - 10 < len(insight) <= MAX_CHARACTERS
    assert set(insight.replace(".", "").split()) == {"sci-fi", "films"}
