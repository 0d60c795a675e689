"""Stopping at the first line: what tasks read of an answer is the same, and fewer tokens are generated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.model.first_line import FirstLine
from harness.model.lm import load
from harness.registry import TASKS
from tests.tiny_models import byte_level_tokenizer, unigram_tokenizer, write_model

PROMPTS = ["A lonely detective", "Which tag does this movie relate to?", "the best coffee in town", "x", "1 2 3"]
TOKENIZER = byte_level_tokenizer()
LINE = FirstLine(TOKENIZER, TOKENIZER.decode)
NEWLINE = TOKENIZER.convert_tokens_to_ids("Ċ")


@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    """A random model that writes a line break where it would have written the third token of its first answer."""
    lm = load(str(write_model("llama", tmp_path_factory.mktemp("model"))), "cpu")
    third = lm.answer_ids(lm.generate(PROMPTS[:1], 40)[0])[2]
    with torch.no_grad():
        lm.model.lm_head.weight[NEWLINE] = 1.2 * lm.model.lm_head.weight[third]
    return lm


def test_predictions_are_those_of_the_whole_answer_and_cost_fewer_tokens(talkative):
    whole = talkative.generate(PROMPTS, 40)
    before = talkative.tokens_out
    lines = talkative.generate(PROMPTS, 40, one_line=True)
    task = TASKS.get("lamp7")()
    assert any("\n" in text.strip() for text in whole), "no answer of this model has a second line: nothing is tested"
    assert [task.parse(text) for text in lines] == [task.parse(text) for text in whole]
    assert all(text.startswith(line) for text, line in zip(whole, lines, strict=True))
    assert talkative.tokens_out - before < before


def test_a_row_stops_as_it_would_alone(talkative):
    together = talkative.generate(PROMPTS, 40, one_line=True)
    before = talkative.tokens_out
    assert [talkative.generate([prompt], 40, one_line=True)[0] for prompt in PROMPTS] == together
    alone = talkative.tokens_out - before
    talkative.generate(PROMPTS, 40, one_line=True)
    assert talkative.tokens_out - before - alone == alone, "tokens after a row's end were counted"


@given(st.lists(st.sampled_from(["a", " ", "\n", "\r\n", "b c", "\u3000", "\u2003\n", "é"]), max_size=12).map("".join))
def test_the_text_is_the_first_line_that_says_anything(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    found = LINE.text(LINE.cut(ids))
    expected = next((line for line in text.split("\n") if line.strip()), "")
    assert found.strip() == expected.strip()


@given(st.text("ab \n\u3000", max_size=10))
def test_nothing_ends_before_a_break_that_follows_something(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    ends = [place for place in range(1, len(ids) + 1) if LINE.ends(ids[:place])]
    assert bool(ends) == ("\n" in text.lstrip())
    assert LINE.cut(ids) == (ids[: ends[0]] if ends else ids)


def test_a_vocabulary_without_line_breaks_never_ends_early():
    tokenizer = unigram_tokenizer()
    line = FirstLine(tokenizer, tokenizer.decode)
    ids = tokenizer("a movie")["input_ids"]
    assert line.cut(ids) == ids


def test_a_token_beyond_the_tokenizer_breaks_no_line():
    """Vocabularies are padded: T5's head has 28 rows more than its tokenizer has pieces."""
    line = FirstLine(TOKENIZER, lambda ids: TOKENIZER.decode([token for token in ids if token < len(TOKENIZER)]))
    text = TOKENIZER("one", add_special_tokens=False)["input_ids"]
    assert not line.ends([*text, len(TOKENIZER) + 27])
    ids = [*text, len(TOKENIZER) + 27, NEWLINE]
    assert line.cut([*ids, *text]) == ids
