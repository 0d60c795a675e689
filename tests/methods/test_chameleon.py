"""Chameleon's stages: what is left out, who is served by which direction, and what a short budget leaves."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from harness.api import Continuations, HarnessError, Query
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.chameleon import method
from harness.methods.chameleon.insights import Insights, clean_insight
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.preference_pairs import generate_pairs, represent_pairs
from harness.methods.chameleon.steering import Steering
from harness.running.clock import BudgetClock
from tests.toy_free_text import ToyFreeText

FAST = {"ccs": {"epochs": 20, "restarts": 2}, "insight_tokens": 8}


def fit(context, **config) -> Steering:
    return Chameleon(ChameleonConfig(**FAST, **config)).fit(context)


class Recorder:
    """A language model whose outputs are scripted and whose requests are kept."""

    is_encoder_decoder, max_length, num_layers, hidden_size = False, 512, 3, 4

    def __init__(self, answer):
        self.answer = answer
        self.asked, self.represented = [], []

    def generate(self, prompts, max_new_tokens, edits=None, one_line=False, time_left=None):
        self.asked += prompts
        return [self.answer(prompt) for prompt in prompts]

    def generate_represented(self, prompts, max_new_tokens, position, one_line=False, time_left=None, site="mlp"):
        texts = self.generate(prompts, max_new_tokens, one_line=one_line)
        known = [torch.full((3, 4), -1.0) if text == "classic" else None for text in texts]
        return Continuations(tuple(texts), tuple(known))

    def represent(self, prompts, outputs, position, site="mlp", time_left=None):
        self.represented.append((list(prompts), list(outputs), position))
        return torch.arange(len(prompts) * 12.0).reshape(len(prompts), 3, 4)

    def count_tokens(self, prompt):
        return len(prompt.split())

    def answer_ids(self, output):
        return output.split()

    def room(self, max_new_tokens):
        return self.max_length - max_new_tokens


@pytest.mark.parametrize(
    ("output", "insight"),
    [
        ("comedies.", "comedies"),
        ("\n The user prefers: dark humour. \n", "dark humour"),
        ("Your answer should be short", "be short"),
        (" ... ", "..."),
        ("", ""),
    ],
)
def test_insights_fit_between_the_words_of_the_prompt(output, insight):
    assert clean_insight(output) == insight


def test_identical_outputs_are_dropped_and_counted(make_context):
    lm = Recorder(lambda prompt: "classic" if "prefers" in prompt and "user 1" in prompt else "comedy ")
    context = make_context(lm=lm, users=toy_users(3, examples=1))
    examples = [user.examples[0] for user in context.users]
    insights = {example.user: Insights(f"likes of {example.user}", "be plain") for example in examples}
    pairs = generate_pairs(context, examples, insights)
    assert [(pair.example.user, pair.personal, pair.neutral) for pair in pairs] == [("user 1", "classic", "comedy ")]
    assert context.report.counts["identical_outputs"] == 2
    assert "The user prefers likes of user 1." in pairs[0].personal_prompt
    assert "Your answer should be plain." in pairs[0].neutral_prompt


@pytest.mark.parametrize("silent", ["prefers", "should"])
def test_pairs_of_which_one_side_says_nothing_are_dropped_and_counted(make_context, silent):
    lm = Recorder(lambda prompt: " " if silent in prompt and "user 1" in prompt else prompt[-40:])
    context = make_context(lm=lm, users=toy_users(2, examples=1))
    examples = [user.examples[0] for user in context.users]
    insights = {example.user: Insights(f"likes of {example.user}", "be plain") for example in examples}
    pairs = generate_pairs(context, examples, insights)
    assert [pair.example.user for pair in pairs] == ["user 0"]
    counts = context.report.counts
    assert (counts["empty_outputs"], counts["identical_outputs"], counts["overlong_pairs"]) == (1, 0, 0)


@pytest.mark.parametrize("text", ["full", "history"])
def test_pair_text(make_context, text):
    lm = Recorder(lambda prompt: "classic" if "prefers" in prompt else "comedy")
    context = make_context(lm=lm)
    example = context.users[0].examples[0]
    pairs = generate_pairs(context, [example], {example.user: Insights("x", "y")})
    found = represent_pairs(context, pairs, text, "last")
    (prompts, outputs, position), base = lm.represented[0], context.task.prompts.base(example.query, example.history)
    assert prompts == ([base] * 2 if text == "history" else [pairs[0].personal_prompt, pairs[0].neutral_prompt])
    assert (outputs, position) == (["classic", "comedy"], "last")
    assert found.personal.shape == found.neutral.shape == (1, 3, 4)
    assert found.users == (example.user,)


def test_only_states_that_were_not_recorded_are_computed_again(make_context):
    lm = Recorder(lambda prompt: "classic" if "prefers" in prompt else "comedy")
    context = make_context(lm=lm, users=toy_users(2, examples=1))
    examples = [user.examples[0] for user in context.users]
    insights = {example.user: Insights("x", "y") for example in examples}
    pairs = generate_pairs(context, examples, insights, "last")
    found = represent_pairs(context, pairs, "full", "last")
    assert lm.represented == [([pair.neutral_prompt for pair in pairs], ["comedy"] * 2, "last")]
    assert torch.equal(found.personal, torch.full((2, 3, 4), -1.0))
    assert torch.equal(found.neutral, torch.arange(24.0).reshape(2, 3, 4))
    assert context.report.counts["texts_represented"] == 2


def test_pairs_too_long_for_the_context_are_dropped_and_counted(make_context):
    lm = Recorder(lambda prompt: "so " * 600 if "prefers" in prompt else "comedy")
    context = make_context(lm=lm)
    example = context.users[0].examples[0]
    assert generate_pairs(context, [example], {example.user: Insights("x", "y")}) == []
    assert context.report.counts["overlong_pairs"] == 1


@pytest.mark.parametrize("insights", [Insights("films of many kinds", "be"), Insights("films", "be of many kinds")])
def test_both_sides_of_a_pair_show_the_items_that_fit_beside_the_longer_insight(make_context, insights):
    lm = Recorder(lambda prompt: "classic" if "prefers" in prompt else "comedy")
    context = make_context(lm=lm)
    example, prompts = context.users[0].examples[0], context.task.prompts
    whole = (
        prompts.personal(example.query, example.history, insights.personal),
        prompts.neutral(example.query, example.history, insights.neutral),
    )
    lm.max_length = min(map(lm.count_tokens, whole)) + context.task.max_new_tokens
    [pair] = generate_pairs(context, [example], {example.user: insights})
    shown = example.history[:-1]  # less the least representative one
    assert pair.personal_prompt == prompts.personal(example.query, shown, insights.personal)
    assert pair.neutral_prompt == prompts.neutral(example.query, shown, insights.neutral)


def test_one_group_serves_everybody_strangers_included(make_context):
    context = make_context()
    fitted = fit(context)
    queries = [*toy_queries(context.users), Query("q", "stranger", "a film")]
    assert fitted.edits(queries).rows == (0,) * 7
    assert all(map(fitted.serves, queries))
    assert fitted.banks.personal.shape == (1, 2, 32)
    assert context.report.users_fitted == 6
    assert context.report.samples_used == 12 - context.report.counts["identical_outputs"]
    assert {fitted.banks.layers[0], fitted.banks.layers[1]} == {
        context.report.counts["layer_1"],
        context.report.counts["layer_2"],
    }


def test_groups_partition_users_in_order_and_strangers_get_the_base_prompt(make_context):
    context = make_context()
    fitted = fit(context, group_size=4, min_pairs=1)
    rows = fitted.edits([*toy_queries(context.users), Query("q", "stranger", "a film")]).rows
    assert rows == (0, 0, 0, 0, 1, 1, -1)
    assert context.report.counts["groups"] == 2


def test_unseen_users_get_the_direction_of_the_first_group_only(make_context):
    context = make_context(regime="unseen")
    fitted = fit(context, group_size=2, min_pairs=1)
    assert context.report.users_fitted == 2
    assert fitted.edits([Query("q", "stranger", "a film")]).rows == (0,)


def test_individual_mode_needs_enough_pairs(make_context):
    users = [*toy_users(1, examples=4), *toy_users(3, examples=2)[1:]]
    context = make_context(users=users)
    fitted = fit(context, group_size=1, num_layers=1)
    assert fitted.edits(toy_queries(users)).rows == (0, -1, -1)
    assert context.report.counts["groups_without_direction"] == 2
    assert not fitted.serves(toy_queries(users)[1])


@pytest.mark.parametrize(("size", "own_layers"), [(1, True), (2, False), (None, False)])
def test_individual_users_choose_their_own_layers(make_context, monkeypatch, size, own_layers):
    asked = []
    find = method.find_directions
    monkeypatch.setattr(method, "find_directions", lambda *args, **kw: asked.append(kw) or find(*args, **kw))
    fit(make_context(), group_size=size, min_pairs=1)
    assert [given["layers_per_group"] for given in asked] == [own_layers]


def test_nothing_left_means_the_base_prompt(make_context):
    context = make_context(lm=Everything("comedy", make_context().lm))
    fitted = fit(context)
    queries = toy_queries(context.users)
    assert fitted.edits(queries) is None
    assert not any(map(fitted.serves, queries))
    assert context.report.counts["identical_outputs"] == 12
    assert context.report.users_fitted == context.report.samples_used == 0


class Everything:
    """A language model that says the same to everything."""

    def __init__(self, answer, lm):
        self.answer, self.lm = answer, lm

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, edits=None, one_line=False, time_left=None):
        return [self.answer] * len(prompts)

    def generate_represented(self, prompts, max_new_tokens, position, one_line=False, time_left=None, site="mlp"):
        return Continuations((self.answer,) * len(prompts), (None,) * len(prompts))


@pytest.mark.parametrize("edit", ["both", "personalized", "neutral"])
def test_edit_variants(make_context, edit):
    found = fit(make_context(), edit=edit).banks
    assert (found.personal is not None, found.neutral is not None) == (edit != "neutral", edit != "personalized")


def test_insight_prompts_are_an_ablation(make_context):
    context = make_context()
    query = toy_queries(context.users)[0]
    history = context.users[0].history
    assert "The user prefers" not in fit(context).prompt(query, history)
    assert "The user prefers" in fit(make_context(), eval_prompt="insight").prompt(query, history)


def test_free_text_is_paraphrased_first(make_context):
    task = ToyFreeText()
    context = make_context(task=task, users=toy_users(6, task=task))
    assert fit(context).edits(toy_queries(context.users)) is not None
    assert "paraphrase" in context.clock.phases


class Ticking(Everything):
    """A language model that takes a second of a fake clock for every call."""

    def __init__(self, lm, time):
        self.lm, self.time = lm, time

    def generate(self, prompts, max_new_tokens, edits=None, one_line=False, time_left=None):
        self.time[0] += 1
        return self.lm.generate(prompts, max_new_tokens, edits)

    def generate_represented(self, prompts, max_new_tokens, *rest, **settings):
        return Continuations(tuple(self.generate(prompts, max_new_tokens)), (None,) * len(prompts))

    def represent(self, *arguments):
        self.time[0] += 1
        return self.lm.represent(*arguments)


@pytest.mark.parametrize(("budget", "batches"), [(100.0, 6), (11.5, 3), (8.0, 2), (3.5, 1), (0.0, 0)])
def test_a_short_budget_leaves_fewer_users_but_finished_directions(make_context, budget, batches):
    time = [0.0]
    clock = BudgetClock(budget, now=lambda: time[0])
    context = make_context(clock=clock, users=toy_users(6, examples=1))
    context.lm = Ticking(context.lm, time)
    fitted = fit(context, batch_size=1, min_pairs=1)
    assert context.report.users_fitted == batches
    assert (fitted.banks is None) == (batches == 0)
    assert clock.exhausted == (batches < 6)
    assert not clock.overran


def test_the_reserve_for_directions_is_kept(make_context, monkeypatch):
    monkeypatch.setattr("harness.methods.chameleon.method.seconds_by_pairs", lambda *_: lambda pairs, groups: 5.0)
    time = [0.0]
    clock = BudgetClock(11.5, now=lambda: time[0])
    context = make_context(clock=clock, users=toy_users(6, examples=1))
    context.lm = Ticking(context.lm, time)
    fit(context, batch_size=1, min_pairs=1)
    assert context.report.users_fitted == 2
    assert clock.remaining() >= 5


def test_the_reserve_grows_with_the_pairs_and_leaves_time_for_those_collected(make_context, monkeypatch):
    monkeypatch.setattr(
        "harness.methods.chameleon.method.seconds_by_pairs", lambda *_: lambda pairs, groups: 10.0 * pairs
    )
    time = [0.0]
    clock = BudgetClock(45.0, now=lambda: time[0])
    context = make_context(clock=clock, users=toy_users(6, examples=1))
    context.lm = Ticking(context.lm, time)
    fit(context, batch_size=1, min_pairs=1)
    fitted = context.report.users_fitted
    assert 2 <= fitted < 6  # all six would need 60 s
    assert clock.remaining() >= 10 * fitted


def test_same_directions_under_any_batch_size(make_context):
    one, two = (fit(make_context(), batch_size=size).banks for size in (1, 16))
    assert one.layers == two.layers
    torch.testing.assert_close(one.neutral, two.neutral, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", [{"num_layers": 4}, {"layers": (0, 3)}])
def test_layers_the_model_lacks_are_refused(make_context, config):
    with pytest.raises(HarnessError, match="has 3 layers"):
        fit(make_context(), **config)


@pytest.mark.parametrize(
    "config",
    [{"layers": ()}, {"layers": (1, 1)}, {"pair_text": "history", "position": "answer_start"}, {"edits": "both"}],
)
def test_settings_that_cannot_work_are_refused(config):
    with pytest.raises(ValidationError):
        ChameleonConfig(**config)


def test_users_without_examples_are_no_group(make_context):
    users = [replace(user, examples=()) for user in toy_users(2)]
    context = make_context(users=users)
    assert fit(context).edits(toy_queries(users)) is None
    assert context.report.counts["groups"] == 0
