"""A call of the model that passes its deadline is given up between two layers."""

from collections.abc import Callable

import pytest

from harness.api import OutOfTime
from harness.model.lm import HuggingFaceModel

PROMPTS = ["a b c", "d e f"]
CALLS = {
    "generate": lambda lm, time_left: lm.generate(PROMPTS, 8, time_left=time_left),
    "generate_represented": lambda lm, time_left: lm.generate_represented(PROMPTS, 8, "last", time_left=time_left),
    "log_likelihood": lambda lm, time_left: lm.log_likelihood(PROMPTS, ["a", "b"], time_left=time_left),
    "represent": lambda lm, time_left: lm.represent(PROMPTS, ["a", "b"], "last", time_left=time_left),
}


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Callable:
    return CALLS[request.param]


def test_a_pass_is_given_up_at_the_layer_after_the_deadline(any_lm: HuggingFaceModel, call: Callable) -> None:
    asked: list[None] = []

    def time_left() -> float:
        asked.append(None)
        return 2.0 - len(asked)

    with pytest.raises(OutOfTime):
        call(any_lm, time_left)
    assert len(asked) == 2
    assert any_lm.tokens_computed == 0


def test_a_call_that_was_given_up_leaves_the_model_as_it_was(any_lm: HuggingFaceModel, call: Callable) -> None:
    expected = any_lm.generate(PROMPTS, 8)
    with pytest.raises(OutOfTime):
        call(any_lm, lambda: 0.0)
    assert any_lm.generate(PROMPTS, 8) == expected


def test_a_deadline_that_is_not_reached_changes_no_answer(any_lm: HuggingFaceModel) -> None:
    assert any_lm.generate(PROMPTS, 8, time_left=lambda: 1.0) == any_lm.generate(PROMPTS, 8)
