"""The two methods that retrieve: what their prompts show, for whom, and what the clock leaves."""

import numpy as np
import pytest

from harness.api import HistoryItem, Query
from harness.conformance.method_checks import SPEC
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.pag import Pag, PagConfig
from harness.methods.rag import Rag, RagConfig
from harness.running.clock import BudgetClock
from harness.running.retrieval import HistorySearch

WHOLE = tuple(
    HistoryItem(str(n), text, "comedy") for n, text in enumerate(["tea", "a dog", "the dog and a cat", "dog"])
)
SHOWN = WHOLE[:1]


def embed(texts):
    return np.array([[1 + text.count("dog"), 1 + text.count("cat")] for text in texts], np.float32)


@pytest.fixture
def searching(make_context):
    """A context whose first user has a longer history than the run has selected."""

    def make(**changes):
        context = make_context(users=toy_users(3), **changes)
        context.search = HistorySearch(embed, {"user 0": WHOLE, "user 1": SHOWN, "user 2": ()})
        return context

    return make


def asked(fitted, search, user="user 0", text="dog cat"):
    query = Query("q", user, text)
    return query, [item.id for item in fitted.retrieve(query, SHOWN, search)]


@pytest.mark.parametrize(("by", "found"), [("bm25", ["1", "2"]), ("dense", ["0", "2"]), ("recency", ["2", "3"])])
def test_rag_shows_the_items_that_the_query_finds_in_the_whole_history(searching, by, found):
    context = searching()
    fitted = Rag(RagConfig(by=by, k=2)).fit(context)
    assert asked(fitted, context.search)[1] == found
    assert (context.report.users_fitted, context.report.samples_used) == (2, 5)


@pytest.mark.parametrize("method", [Rag(RagConfig()), Pag(PagConfig())])
@pytest.mark.parametrize(("selected", "found"), [(0, []), (1, ["2"]), (2, ["1", "2"])])
def test_without_a_k_as_many_items_are_found_as_the_run_shows_others(searching, tmp_path, method, selected, found):
    context = searching()
    method.fit(context).save(tmp_path)
    fitted, query = method.load(tmp_path, context.task), Query("q", "user 0", "dog cat")
    assert [item.id for item in fitted.retrieve(query, WHOLE[:selected], context.search)] == found


def test_rag_sends_the_base_prompt(searching):
    context = searching()
    query = Query("q", "user 0", "dog")
    assert Rag(RagConfig()).fit(context).prompt(query, WHOLE) == context.task.prompts.base("dog", WHOLE)


def test_users_who_were_not_indexed_see_what_the_run_selected(searching):
    context = searching()
    fitted = Rag(RagConfig(k=2)).fit(context)
    assert asked(fitted, context.search, "stranger")[1] == ["0"]
    assert [fitted.serves(query) for query in toy_queries(context.users)] == [True, True, False]


def test_indexing_is_on_the_clock(searching):
    time = [0.0]

    def slow(texts):
        time[0] += 10
        return embed(texts)

    context = searching(clock=BudgetClock(15.0, now=lambda: time[0]))
    context.search = HistorySearch(slow, {f"user {number}": WHOLE for number in range(3)})
    fitted = Rag(RagConfig(by="dense")).fit(context)
    assert context.clock.phases["index"] == 10
    assert context.clock.exhausted
    assert [fitted.serves(query) for query in toy_queries(context.users)] == [True, False, False]


@pytest.fixture
def embedding(searching):
    """A context whose users have histories of so many items, each of which takes a second to embed."""

    def make(budget, *items):
        time = [0.0]

        def slow(texts):
            time[0] += len(texts)
            return embed(texts)

        context = searching(clock=BudgetClock(budget, now=lambda: time[0]))
        context.search = HistorySearch(
            slow, {f"user {number}": WHOLE[:1] * count for number, count in enumerate(items)}
        )
        return context

    return make


def test_a_history_is_not_begun_that_is_too_long_for_the_time_left(embedding):
    context = embedding(60.0, 2, 3, 100)
    fitted = Rag(RagConfig(by="dense")).fit(context)
    assert context.clock.elapsed() == 5
    assert "2 of 3 items done with 55 s left, the next needs about 120 s" in context.clock.reason
    assert [fitted.serves(query) for query in toy_queries(context.users)] == [True, True, False]


@pytest.mark.parametrize("method", [Rag(RagConfig(by="dense")), Pag(PagConfig(by="dense"))])
def test_a_history_whose_embedding_is_late_is_given_up(embedding, method):
    context = embedding(30.0, 1000, 0, 0)
    fitted = method.fit(context)
    assert 30 <= context.clock.elapsed() < 60
    assert context.clock.exhausted
    assert not fitted.serves(toy_queries(context.users)[0])


@pytest.mark.parametrize("method", [Rag(RagConfig()), Pag(PagConfig())])
def test_nobody_is_indexed_who_will_not_ask(searching, method):
    context = searching(regime="unseen")
    assert not method.fit(context).serves(Query("q", "user 0", "dog"))
    assert context.lm.tokens_in == 0


@pytest.mark.parametrize("method", [Rag(RagConfig()), Pag(PagConfig())])
def test_nothing_is_indexed_for_prompts_that_may_show_no_history(searching, method):
    context, indexed = searching(), []
    context.select.spec = SPEC.model_copy(update={"eval_history": "none"})
    context.search.index = lambda *asked: indexed.append(asked)
    fitted = method.fit(context)
    assert indexed == []
    if isinstance(method, Rag):
        assert not any(fitted.serves(query) for query in toy_queries(context.users))
        assert (context.report.users_fitted, context.report.samples_used) == (0, 0)


@pytest.mark.parametrize(("by", "found"), [("bm25", ["1", "2"]), (None, ["0"])])
def test_pag_puts_a_profile_beside_what_the_query_finds_or_the_selection(searching, by, found):
    context = searching()
    fitted = Pag(PagConfig(by=by, k=2)).fit(context)
    query, shown = asked(fitted, context.search)
    assert shown == found
    note = fitted.notes["user 0"]
    assert fitted.prompt(query, SHOWN) == context.task.prompts.base(query.text, SHOWN, note=note)
    assert fitted.bare_prompt(query, SHOWN) == context.task.prompts.base(query.text, SHOWN)


def test_users_without_a_profile_fall_back_to_the_base_prompt_and_the_selection(searching):
    context = searching(clock=BudgetClock(1e-9))
    fitted = Pag(PagConfig(k=2)).fit(context)
    query, shown = asked(fitted, context.search)
    assert shown == ["0"]
    assert fitted.prompt(query, SHOWN) == context.task.prompts.base(query.text, SHOWN)
    assert context.report.users_fitted == 0
    assert context.report.counts["users_without_note"] == 3


def test_the_model_is_asked_for_a_profile(searching):
    context, seen = searching(), []
    generate = context.lm.generate
    context.lm.generate = lambda prompts, *rest, **more: seen.extend(prompts) or generate(prompts, *rest, **more)
    Pag(PagConfig()).fit(context)
    assert len(seen) == 3
    assert all("Write a profile summary." in prompt for prompt in seen)
