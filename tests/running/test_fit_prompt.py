"""Prompts that are too long: what goes, in which order, and what it costs to find out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HistoryItem
from harness.running.context import fit_prompt


class Words:
    """Stands for a model whose tokens are words, with a context of `size`; counts its tokenizations."""

    def __init__(self, size):
        self.size, self.counted = size, 0

    def count_tokens(self, prompt):
        self.counted += 1
        return len(prompt.split())

    def room(self, max_new_tokens):
        return self.size - max_new_tokens


def build(items):
    return " ".join([*(f"{item.id} {item.text}" for item in items), "a question"])


def one_by_one(lm, history, room):
    """The rule as it is told: while the prompt does not fit, the item of the highest rank goes."""
    kept = list(history)
    while kept and len(build(kept).split()) > room:
        kept.remove(max(kept, key=lambda item: item.rank))
    return build(kept), len(history) - len(kept)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=40),
    st.integers(0, 300),
    st.none() | st.integers(0, 300),
)
def test_the_same_items_go_as_when_dropped_one_by_one(items, size, limit):
    history = [HistoryItem(str(place), "w " * words, rank=rank) for place, (words, rank) in enumerate(items)]
    lm = Words(size)
    fitted = fit_prompt(lm, build, history, 0, limit)
    room = size if limit is None else min(size, limit)
    assert (fitted.text, fitted.dropped) == one_by_one(lm, history, room)
    assert fitted.fits == (len(fitted.text.split()) <= room)
    assert lm.counted <= 3 + math.ceil(math.log2(len(history) + 1))


@pytest.mark.parametrize(("size", "dropped", "tokenizations"), [(10**6, 0, 1), (512, 349, 11), (1, 400, 11)])
def test_four_hundred_items_take_a_handful_of_tokenizations(size, dropped, tokenizations):
    history = [HistoryItem(str(place), "w " * 9, rank=place) for place in range(400)]
    lm = Words(size)
    fitted = fit_prompt(lm, build, history, 0)
    assert fitted.dropped == dropped
    assert lm.counted <= tokenizations


def test_a_real_tokenizer_agrees(llama):
    history = [HistoryItem(str(n), "a lonely detective, again! " * (1 + n % 3), rank=n * 7 % 11) for n in range(11)]
    for limit in range(10, 200, 9):
        fitted = fit_prompt(llama, build, history, 8, limit)
        order = sorted(history, key=lambda item: -item.rank)
        shorter = next(n for n in range(12) if n == 11 or llama.count_tokens(shown(history, order[n:])) <= limit)
        assert (fitted.text, fitted.dropped) == (shown(history, order[shorter:]), shorter)


def shown(history, kept):
    return build([item for item in history if item in kept])
