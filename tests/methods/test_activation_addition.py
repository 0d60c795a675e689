"""CAA and StyleVector: what is added, computed again from the model's representations one pair at a time."""

import pytest
import torch

from harness.api import HarnessError, Query
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.caa import Caa, CaaConfig
from harness.methods.style_vector import StyleVector
from harness.running.clock import BudgetClock
from tests.toy_free_text import ToyFreeText


def caa(**config):
    return Caa(CaaConfig(**config))


def style(**config):
    return StyleVector(CaaConfig(**config))


def differences(source, context, shows_history, layers):
    """By user, the difference of each example's own and neutral answer, [l, d] each."""
    lm, prompts, found = source.pristine(), context.task.prompts, {}
    for user in context.users:
        for example in user.examples:
            history = example.history if shows_history else ()
            asked = prompts.neutral(example.query, history, prompts.generic_insight)
            [neutral] = lm.generate([asked], context.task.max_new_tokens, one_line=True)
            assert neutral.strip() != example.answer
            prompt = prompts.base(example.query, history)
            one, other = lm.represent([prompt] * 2, [example.answer, neutral.strip()], "last")
            found.setdefault(user.id, []).append((one - other)[layers])
    return {user: torch.stack(values) for user, values in found.items()}


def test_caa_adds_one_mean_difference_for_everybody_at_the_middle_layer(make_context, toy_source):
    context = make_context(users=toy_users(3))
    fitted = caa(strength=0.5).fit(context)
    found = torch.cat(list(differences(toy_source, context, True, [1]).values()))
    edits = fitted.edits([*toy_queries(context.users), Query("q", "stranger", "a movie")])
    assert edits.layers == (1,)
    assert edits.rows == (0, 0, 0, 0)
    torch.testing.assert_close(edits.offset, 0.5 * found.mean(dim=0, keepdim=True), atol=1e-4, rtol=1e-3)
    assert (context.report.users_fitted, context.report.samples_used) == (3, 6)


def test_a_style_vector_is_a_users_own_and_shows_no_history(make_context, toy_source):
    context = make_context(users=toy_users(3))
    fitted = style(layers=(0, 2)).fit(context)
    found = differences(toy_source, context, False, [0, 2])
    edits = fitted.edits([*toy_queries(context.users)[::-1], Query("q", "stranger", "a movie")])
    assert edits.rows[-1] == -1
    for user, row in zip(context.users[::-1], edits.rows[:-1], strict=True):
        torch.testing.assert_close(edits.offset[row], found[user.id].mean(dim=0), atol=1e-4, rtol=1e-3)
    assert not fitted.serves(Query("q", "stranger", "a movie"))


@pytest.mark.parametrize("method", [caa, style])
def test_a_neutral_answer_that_says_nothing_is_no_part_of_a_difference(make_context, monkeypatch, method):
    context, other = make_context(users=toy_users(2)), make_context(users=toy_users(2)[:1])
    generate = context.lm.generate

    def silent(prompts, *rest, **named):
        outputs = generate(prompts, *rest, **named)
        return ["" if "of user 1. Which" in prompt else text for prompt, text in zip(prompts, outputs, strict=True)]

    monkeypatch.setattr(context.lm, "generate", silent)
    found, expected = (method().fit(one).banks.offset for one in (context, other))
    torch.testing.assert_close(found, expected)
    assert context.report.counts["empty_outputs"] == context.report.samples_used == 2


def test_tweets_without_an_input_are_paraphrased_first(make_context):
    context = make_context(users=toy_users(2, task=ToyFreeText()), task=ToyFreeText())
    style().fit(context)
    assert {"paraphrase", "pairs", "representations"} <= set(context.clock.phases)


def test_users_that_the_clock_does_not_reach_are_answered_unedited(make_context):
    time = [0.0]
    context = make_context(users=toy_users(3), clock=BudgetClock(2.5, now=lambda: time[0]))
    generate = context.lm.generate

    def slow(*arguments, **more):
        time[0] += 1
        return generate(*arguments, **more)

    context.lm.generate = slow
    fitted = style(batch_size=1).fit(context)
    assert [fitted.serves(query) for query in toy_queries(context.users)] == [True, True, False]
    assert context.report.users_fitted == 2
    assert context.clock.exhausted


def test_representations_that_would_end_late_are_given_up(make_context):
    time, spans = [0.0], iter([0.1, 2.0])
    context = make_context(users=toy_users(3), clock=BudgetClock(3.5, now=lambda: time[0]))
    generate, represent = context.lm.generate, context.lm.represent

    def slower(*arguments, **more):
        time[0] += next(spans)
        return generate(*arguments, **more)

    def slow(*arguments):
        time[0] += 1.0
        return represent(*arguments)

    context.lm.generate, context.lm.represent = slower, slow
    caa(batch_size=1).fit(context)
    assert context.report.samples_used == 1
    assert context.clock.exhausted


def test_strangers_are_served_by_the_common_vector_alone(make_context):
    asked = Query("q", "stranger", "a movie")
    common, own = (method.fit(make_context(users=toy_users(2), regime="unseen")) for method in (caa(), style()))
    assert (common.serves(asked), own.serves(asked)) == (True, False)


@pytest.mark.parametrize("layers", [(), (1, 1), (-1,)])
def test_layers_are_named_once_from_zero(layers):
    with pytest.raises(ValueError, match="at least one decoder layer"):
        CaaConfig(layers=layers)


def test_a_layer_that_the_model_has_not_is_refused(make_context):
    with pytest.raises(HarnessError, match=r"layers=\[3\] does not fit the model, whose decoder has 3 layers"):
        caa(layers=(3,)).fit(make_context())


def test_no_pair_is_no_edit(make_context):
    context = make_context(users=[])
    assert caa().fit(context).edits([Query("q", "stranger", "a movie")]) is None
