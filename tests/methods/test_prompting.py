"""The two methods that only prompt: what they show, and to whom."""

import pytest

from harness.api import Query
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.instruct import Instruct
from harness.methods.llm_rec import LlmRec, LlmRecConfig
from harness.methods.nothing_to_set import NothingToSet
from harness.running.clock import BudgetClock


class Scribe:
    """A language model that answers each request with a word about it, a second each."""

    def __init__(self, lm, time):
        self.lm, self.time, self.asked = lm, time, []

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, edits=None, one_line=False, time_left=None):
        self.asked += prompts
        self.time[0] += len(prompts)
        return [f"\n so\n  {prompt.split('Write a ')[1].split(' ')[0]} " for prompt in prompts]


@pytest.fixture
def fit(make_context):
    """Fits LLM-REC on a fake clock; gives personalizer, context and language model."""

    def run(budget=100.0, context=None, **config):
        time = [0.0]
        made = make_context(clock=BudgetClock(budget, now=lambda: time[0]), **(context or {}))
        made.lm = Scribe(made.lm, time)
        return LlmRec(LlmRecConfig(**config)).fit(made), made, made.lm

    return run


def test_instruct_is_the_base_prompt_for_everybody(make_context):
    context = make_context()
    fitted = Instruct(NothingToSet()).fit(context)
    query, history = toy_queries(context.users)[0], context.users[0].history
    assert fitted.prompt(query, history) == context.task.prompts.base(query.text, history)
    assert fitted.serves(query)
    assert context.report.users_fitted == context.report.samples_used == 0


@pytest.mark.parametrize(
    ("strategy", "note"),
    [
        ("engagement", "so engagement"),
        ("basic", "so basic"),
        ("recommendation", "so recommendation"),
        ("both", "so recommendation so engagement"),
    ],
)
@pytest.mark.parametrize("placement", ["append", "replace"])
def test_notes_stand_beside_or_in_place_of_the_history(fit, strategy, note, placement):
    fitted, context, _ = fit(strategy=strategy, placement=placement)
    query, history = toy_queries(context.users)[0], context.users[0].history
    shown = history if placement == "append" else ()
    assert fitted.prompt(query, history) == context.task.prompts.base(query.text, shown, note=note)
    assert context.report.users_fitted == 6
    assert context.report.samples_used == 24


def test_the_default_is_an_engagement_guided_note_after_the_base_prompt(fit):
    fitted, context, _ = fit()
    assert fitted.prompt(Query("q", "user 0", "a film"), context.users[0].history).count("so engagement") == 1


def test_users_the_clock_does_not_reach_get_the_base_prompt(fit):
    fitted, context, lm = fit(budget=4.0, batch_size=1)
    queries = toy_queries(context.users)
    assert [fitted.serves(query) for query in queries] == [True] * 3 + [False] * 3
    assert fitted.prompt(queries[5], ()) == context.task.prompts.base(queries[5].text, ())
    assert context.clock.exhausted
    assert len(lm.asked) == 3


@pytest.mark.parametrize("placement", ["append", "replace"])
def test_strangers_keep_their_history(fit, placement):
    fitted, context, _ = fit(placement=placement)
    query, history = Query("q", "stranger", "a film"), context.users[0].history
    assert fitted.prompt(query, history) == context.task.prompts.base("a film", history)


def test_no_note_is_written_about_users_who_will_not_ask(fit):
    fitted, context, lm = fit(context={"regime": "unseen", "users": toy_users(2)})
    assert lm.asked == []
    assert not fitted.serves(toy_queries(context.users)[0])
