"""A call of the model that passes its deadline is given up between two tokens."""

import pytest

import harness.model.decoding
from harness.api import OutOfTime
from harness.model.lm import HuggingFaceModel


def test_generation_is_given_up_at_the_token_after_the_deadline(any_lm: HuggingFaceModel) -> None:
    asked: list[None] = []

    def time_left() -> float:
        asked.append(None)
        return 3.0 - len(asked)

    with pytest.raises(OutOfTime):
        any_lm.generate(["a b c"], 8, time_left=time_left)
    assert len(asked) == 3


def test_a_deadline_that_is_not_reached_changes_no_answer(any_lm: HuggingFaceModel) -> None:
    prompts = ["a b c", "a"]
    assert any_lm.generate(prompts, 8, time_left=lambda: 1.0) == any_lm.generate(prompts, 8)


def test_reading_many_prompts_is_given_up_between_two_of_them(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.model.decoding, "prefill_tokens", lambda device: 1)
    with pytest.raises(OutOfTime):
        llama.generate(["a b c", "d e f", "g h i"], 8, time_left=lambda: 0.0)
    assert llama.tokens_computed == 0
