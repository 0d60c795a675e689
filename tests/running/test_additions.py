"""What a method adds to a prompt goes before any history, and history before the question is given up."""

import pytest

from harness.api import Query
from harness.conformance.toys import ToyTask, toy_users
from harness.methods.chameleon.steering import Steering
from harness.methods.llm_rec import Notes
from harness.running.evaluation import evaluate

USER = toy_users(1)[0]
QUERY = Query("q", USER.id, "a movie")
PLAIN = ToyTask.prompts.base(QUERY.text, USER.history)


def ask(lm, personalizer):
    """The evaluation of one query."""
    return evaluate(lm, ToyTask(), personalizer, [QUERY], {QUERY.id: USER.history}, {QUERY.id: "comedy"})


def personalizers(words):
    text = "coffee " * words
    return [
        Notes(ToyTask(), {USER.id: text}, "append"),
        Notes(ToyTask(), {USER.id: text}, "replace"),
        Steering(ToyTask(), None, {}, insights={USER.id: text}),
    ]


@pytest.mark.parametrize("kind", range(3))
def test_an_addition_that_fits_is_asked(llama, kind):
    personalizer = personalizers(5)[kind]
    result = ask(llama, personalizer)
    assert result.samples["prompt"][0] == personalizer.prompt(QUERY, USER.history) != PLAIN
    assert result.additions_left_out == 0


@pytest.mark.parametrize("kind", range(3))
def test_an_addition_without_room_is_left_out_and_counted_and_the_query_is_asked(llama, kind):
    result = ask(llama, personalizers(300)[kind])
    assert result.samples["prompt"][0] == PLAIN
    assert result.samples["output"][0] == llama.generate([PLAIN], ToyTask.max_new_tokens)[0]
    assert (result.additions_left_out, result.prompts_shortened, result.unanswerable) == (1, 0, 0)


def test_history_goes_after_the_addition_and_the_question_last(llama):
    lengths = [llama.count_tokens(ToyTask.prompts.base(QUERY.text, USER.history[:n])) for n in range(5)]
    notes = Notes(ToyTask(), {USER.id: "a"}, "append")
    seen = []
    for room in (lengths[4], lengths[3], lengths[0], lengths[0] - 1):
        llama.max_length = room + ToyTask.max_new_tokens
        result = ask(llama, notes)
        seen.append((result.additions_left_out, result.prompts_shortened, result.unanswerable))
    assert seen == [(1, 0, 0), (1, 1, 0), (1, 1, 0), (1, 1, 1)]
