"""Examples and requests that do not fit the context: counted and left out by every method, never a crash."""

from dataclasses import replace

import pytest

from harness.api import Example, HistoryItem, User
from harness.conformance.toys import ToyTask, toy_queries, toy_users
from harness.registry import CONTROLS, METHODS, method_class
from harness.running.evaluation import evaluate
from tests.methods.trained import aloe, dpo
from tests.toy_free_text import ToyFreeText

LONG = "a lonely detective follows a trail of letters " * 60
FAST = {
    "ccs": {"epochs": 20, "restarts": 2},
    "lora": {"r": 2, "alpha": 4},
    "batch_size": 4,
    "accumulation": 1,
    "min_pairs": 1,
    "insight_tokens": 8,
    "max_new_tokens": 8,
}
NAMES = [*METHODS.names(), *CONTROLS.names()]
# Where a model is asked, these controls run Chameleon's code: decoders show that they keep to it.
ENCODER_DECODER_NAMES = [n for n in NAMES if n not in ("random_direction", "shuffled_history", "mean_difference")]


def build(name, **config):
    """A registered method with those of the fast settings that it has."""
    cls = method_class(name)
    known = {key: value for key, value in {**FAST, **config}.items() if key in cls.Config.model_fields}
    return cls(cls.Config(**known))


def with_a_long_one(users):
    """The users, the first of whom has one hopeless history item and one hopeless example more."""
    first = users[0]
    example = first.examples[0]
    hopeless = Example(first.id, example.query and LONG, first.history, example.answer if example.query else LONG)
    history = (*first.history, HistoryItem("long", LONG, first.history[0].label, rank=9))
    return [User(first.id, history, (hopeless, *first.examples)), *users[1:]]


def fit_and_ask(method, context, source):
    """What the engine's own evaluation gives, on another model with the same context."""
    personalizer, asked = method.fit(context), source.pristine()
    asked.max_length = context.lm.max_length
    queries = toy_queries(context.users)
    users = {user.id: user for user in context.users}
    histories = {query.id: personalizer.retrieve(query, users[query.user].history, context.search) for query in queries}
    golds = {query.id: "comedy" for query in queries}
    return evaluate(asked, context.task, personalizer, queries, histories, golds)


@pytest.mark.parametrize("task", [ToyTask(), ToyFreeText()])
@pytest.mark.parametrize(
    ("kind", "name"), [*(("llama", name) for name in NAMES), *(("t5", name) for name in ENCODER_DECODER_NAMES)]
)
def test_one_long_item_is_left_out_and_the_others_are_learned_from(make_context, toy_source, t5, name, kind, task):
    source = {"llama": toy_source, "t5": t5}[kind]
    context = make_context(lm=source.pristine(), task=task, users=with_a_long_one(toy_users(3, task=task)))
    result = fit_and_ask(build(name), context, source)
    assert result.unanswerable == 0
    assert len(result.samples) == 3
    report, counts = context.report, context.report.counts
    if name in ("instruct", "no_history", "shuffled_prompt") or (name == "user_majority" and not task.labels):
        assert report.samples_used == 0
    elif name.removeprefix("shuffled_") in ("constant", "user_majority", "llm_rec", "rag", "pag"):
        assert report.samples_used >= 7  # no example is too long for what they count
    else:
        assert report.samples_used + counts.get("identical_outputs", 0) == (24 if "oppu" in name else 6)
        assert counts["examples_too_long"] == (2 if "oppu" in name else 1)  # the task's adapter is without it too


@pytest.mark.parametrize("length", [60, 8])
@pytest.mark.parametrize("name", NAMES)
def test_no_context_is_too_small_to_end_without_an_error(make_context, toy_source, name, length):
    lm = toy_source.pristine()
    lm.max_length = length
    context = make_context(lm=lm, users=with_a_long_one(toy_users(3)))
    result = fit_and_ask(build(name, max_length=length), context, toy_source)
    assert len(result.samples) == 3


@pytest.mark.parametrize("length", [60, 8])
@pytest.mark.parametrize("name", ENCODER_DECODER_NAMES)
def test_no_context_of_an_encoder_decoder_is_too_small_either(make_context, t5, name, length):
    lm = t5.pristine()
    lm.max_length = length
    context = make_context(lm=lm, users=with_a_long_one(toy_users(3)))
    assert len(fit_and_ask(build(name, max_length=length), context, t5).samples) == 3


@pytest.mark.parametrize("method", [aloe(), dpo(), dpo(pairs="self_generated")])
def test_each_hopeless_example_is_counted_once(make_context, method):
    context = make_context(users=with_a_long_one(toy_users(2)))
    method.fit(context)
    assert context.report.counts["examples_too_long"] == 1


@pytest.mark.parametrize("nothing", ["", " \n\n"])
def test_a_tweet_of_which_the_model_says_nothing_is_left_out_and_counted_by_itself(make_context, nothing):
    task = ToyFreeText()
    context = make_context(task=task, users=with_a_long_one(toy_users(2, examples=1, task=task)))
    outputs = iter([nothing, " a movie\n"])
    context.lm.generate = lambda prompts, *rest, **settings: [next(outputs) for _ in prompts]
    examples = [example for user in context.users for example in user.examples]
    assert context.complete(examples) == [replace(examples[-1], query="a movie")]
    assert {name: context.report.counts[name] for name in ("examples_too_long", "empty_paraphrases")} == {
        "examples_too_long": 1,
        "empty_paraphrases": 1,
    }


def test_history_pairs_leave_room_for_the_outputs(make_context):
    context = make_context(users=with_a_long_one(toy_users(3)))
    longest = max(context.lm.count_tokens(ToyTask.prompts.base("a movie", user.history)) for user in context.users[1:])
    context.lm.max_length = longest + 40
    method = build("chameleon", pair_text="history")
    method.fit(context)
    assert context.report.samples_used == 6
    assert context.report.counts["overlong_pairs"] == 0
    assert context.report.counts["prompts_shortened"] > 0
