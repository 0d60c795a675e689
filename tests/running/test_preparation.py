"""What every method of a cell sees: the same users, queries, histories and examples; never a leak or a gold."""

import json
from collections import Counter

import numpy as np
import pytest

from harness.api import HarnessError, HistoryItem, Query
from harness.running import leaks
from harness.running.preparation import AGENT_TOKENS, prepare
from harness.specs.run_spec import MethodSpec, RunSpec
from harness.tasks.lamp import Lamp3, Lamp7

SPEC = RunSpec(methods=(MethodSpec(name="instruct"),), tasks=("lamp3",), budget=60, model="m", history=3)


class WordCounter:
    """Stands for a model whose tokens are words, with a context of `size`."""

    def __init__(self, size=10_000):
        self.size = size

    def count_tokens(self, prompt):
        return len(prompt.split())

    def room(self, max_new_tokens):
        return self.size - max_new_tokens


def embed(texts):
    return np.array([[len(text), text.count("e")] for text in texts], np.float32)


def review(user, number, words="a b c"):
    return {"id": f"{user}-{number}", "text": f"review {number} of {user} {words}", "score": str(1 + number % 5)}


def write_split(folder, split, users, items=6, asked=2, extra=()):
    """Ratings of `users`, each asked `asked` times about texts of its own, with one profile per user."""
    questions, golds, names = [], [], {}
    for user in users:
        for number in range(asked):
            key = f"{split}-{user}-{number}"
            text = f"question {number} of {user}"
            profile = [review(user, item) for item in range(items)] + list(extra)
            stem = "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 "
            questions.append(
                {"id": key, "input": f"{stem}without further explanation. review: {text}", "profile": profile}
            )
            golds.append({"id": key, "output": str(1 + number)})
            names[key] = user
    place = folder / "LaMP_3"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{split}_questions.json").write_text(json.dumps(questions))
    (place / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_3", "golds": golds}))
    (place / f"{split}_users.json").write_text(json.dumps(names))


@pytest.fixture
def data(tmp_path):
    write_split(tmp_path, "dev", ["ann", "bob", "cy"])
    write_split(tmp_path, "train", ["dee", "eve", "fay", "gus"])
    return tmp_path


def prepared(data, lm=None, task=None, **changes):
    spec = SPEC.model_copy(update={"data": str(data), **changes})
    return prepare(task or Lamp3(), spec, lm or WordCounter(), embed)


def test_users_and_limit_cut_the_queries_in_file_order(data):
    assert [query.user for query in prepared(data, users=2).queries] == ["ann", "ann", "bob", "bob"]
    assert [query.id for query in prepared(data, limit=3).queries] == ["dev-ann-0", "dev-ann-1", "dev-bob-0"]


def test_prompts_show_k_selected_items(data):
    assert {len(items) for items in prepared(data).histories.values()} == {3}
    assert {len(items) for items in prepared(data, history=100).histories.values()} == {6}


def test_recency_without_dates_is_said(data):
    note = "recency takes the file's order: items carry no dates"
    assert note in prepared(data, selection="recency").data.notes
    assert note not in prepared(data).data.notes


def test_no_history_is_shown_where_none_was_asked_for(data):
    result = prepared(data, eval_history="none")
    assert set(result.histories.values()) == set(result.whole.values()) == {()}
    assert all(user.history for user in result.pool.users(0))


def test_an_example_is_never_in_the_history_it_is_shown_with(data):
    for user in prepared(data, supervision=6, history=10).pool.users(0):
        assert len(user.examples) == 6
        for example in user.examples:
            assert len(example.history) == 5
            assert example.query not in [item.text for item in example.history]


def test_histories_of_examples_are_selected_after_the_item_was_removed(data):
    for user in prepared(data, supervision=6, history=2).pool.users(0):
        assert all(len(example.history) == 2 for example in user.examples)


def test_the_order_of_users_and_examples_depends_on_the_seed_alone(data):
    first, again, other = prepared(data).pool.users(0), prepared(data).pool.users(0), prepared(data).pool.users(1)
    assert first == again
    assert first != other
    assert {user.id for user in first} == {user.id for user in other} == {"ann", "bob", "cy"}


def test_a_smaller_number_of_examples_is_a_prefix_of_a_larger_one(data):
    few, many = prepared(data, supervision=2).pool.users(0), prepared(data, supervision=5).pool.users(0)
    for one, other in zip(few, many, strict=True):
        assert one.examples == other.examples[:2]


def test_leaks_are_removed_from_what_is_shown_and_from_what_is_learnt(tmp_path):
    leak = {"id": "leak", "text": "Question 0  of ann", "score": "3"}
    write_split(tmp_path, "dev", ["ann"], extra=[leak])
    clean, kept = prepared(tmp_path, history=10), prepared(tmp_path, history=10, keep_leaks=True)
    assert (clean.leaks_removed, kept.leaks_removed) == (1, 0)
    assert "leak" not in [item.id for item in clean.histories["dev-ann-0"]]
    assert "leak" in [item.id for item in kept.histories["dev-ann-0"]]
    assert all(item.id != "leak" for user in clean.pool.users(0) for item in user.history)


def test_a_history_is_normalized_once_whatever_is_asked_of_its_user(data, monkeypatch):
    counts = Counter()
    real = leaks._normal
    monkeypatch.setattr(leaks, "_normal", lambda text: counts.update([text]) or real(text))
    ready = prepared(data, supervision=6)
    assert {counts[item.text] for items in ready.whole.values() for item in items} == {1}
    counts.clear()
    ready.pool.users(0)
    # Once as an item, once as the query of the example made of it.
    assert {counts[item.text] for items in ready.whole.values() for item in items} == {2}


def test_unseen_fits_on_golds_of_other_users_only(data):
    result = prepared(data, regime="unseen", fit_users=2)
    users = result.pool.users(0)
    assert len(users) == 2
    assert {user.id for user in users} < {"dee", "eve", "fay", "gus"}
    assert all(example.query.startswith("question") for user in users for example in user.examples)
    assert result.pool.users(0) != result.pool.users(1)


def test_what_the_split_to_fit_on_lacks_is_noted(data):
    extra = [{"id": "x", "text": "no score", "score": None}]
    write_split(data, "train", ["dee", "eve", "fay", "gus"], extra=extra)
    assert prepared(data, regime="unseen").data.notes == [
        "train, to fit on: 8 of 56 history items could not be used",
    ]
    assert prepared(data).data.notes == []


def test_unseen_refuses_users_who_are_evaluated_too(tmp_path):
    write_split(tmp_path, "dev", ["ann", "bob"])
    write_split(tmp_path, "train", ["bob", "cy"])
    with pytest.raises(HarnessError, match="users bob are in both"):
        prepared(tmp_path, regime="unseen")


def test_unseen_refuses_files_separated_by_time(tmp_path):
    """Their users are the same people in every split, although LaMP does not name them."""
    write_split(tmp_path / "time", "dev", ["ann", "bob"])
    write_split(tmp_path / "time", "train", ["cy", "dee"])
    with pytest.raises(HarnessError, match="train and dev of a time-based separation have the same users"):
        prepared(tmp_path / "time", regime="unseen")
    assert prepared(tmp_path / "time").data.separation == "time"


def test_unseen_refuses_a_directory_with_one_split(tmp_path):
    write_split(tmp_path, "dev", ["ann", "bob"])
    with pytest.raises(HarnessError, match="unseen"):
        prepared(tmp_path, regime="unseen")


def test_an_example_too_long_for_the_context_is_passed_over_for_all_methods(tmp_path):
    long = {"id": "long", "text": "word " * 500, "score": "3"}
    write_split(tmp_path, "dev", ["ann"], items=2, extra=[long])
    users = prepared(tmp_path, lm=WordCounter(400), supervision=5).pool.users(0)
    assert [len(user.examples) for user in users] == [2]


def test_a_user_without_history_has_no_examples_and_stays_a_user(tmp_path):
    write_split(tmp_path, "dev", ["ann"], items=0)
    result = prepared(tmp_path)
    assert result.whole == {"ann": ()}
    assert set(result.histories.values()) == {()}
    assert [user.examples for user in result.pool.users(0)] == [()]


def test_a_tweet_supervises_its_own_wording_without_an_input():
    spec = SPEC.model_copy(update={"tasks": ("lamp7",), "users": 3})
    for user in prepare(Lamp7(), spec, WordCounter(), embed).pool.users(0):
        assert [example.query for example in user.examples] == [None]


class Silent(Lamp3):
    """A task whose history items with a score of 1 answer no question."""

    def supervise(self, item):
        return None if item.label == "1" else super().supervise(item)


def test_items_that_supervise_nothing_are_passed_over(tmp_path):
    ones = [{"id": f"one {number}", "text": f"Bad {number}.", "score": "1"} for number in range(5)]
    write_split(tmp_path, "dev", ["ann"], items=0, extra=[*ones, {"id": "two", "text": "Better.", "score": "2"}])
    pool = prepare(
        Silent(), SPEC.model_copy(update={"data": str(tmp_path), "supervision": 5}), WordCounter(), embed
    ).pool
    assert [[example.answer for example in user.examples] for user in pool.users(0)] == [["2"]]


def test_data_without_a_usable_question_is_refused(tmp_path):
    write_split(tmp_path, "dev", [])
    with pytest.raises(HarnessError, match="no usable"):
        prepared(tmp_path)


def test_an_encoder_decoder_keeps_room_for_the_agents_too_and_what_is_passed_over_is_counted(data):
    class EncoderDecoder(WordCounter):
        def room(self, max_new_tokens):
            return self.size

    write_split(data, "dev", ["ann"], items=3, extra=[review("ann", 9, "w " * 300)])
    pool = prepared(data, EncoderDecoder(AGENT_TOKENS + 100), supervision=4).pool
    (ann,) = pool.users(0)
    assert len(ann.examples) == 3
    assert pool.passed_over == {"ann": 1}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("caf\u00e9 noir", "cafe\u0301 noir!", True),  # one code point, and two
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947.", True),
        ("\u0915\u0940", "\u0915\u093e", False),  # they differ in a vowel, which is a mark
        ("\u2764\ufe0f", "\u2602\ufe0f", False),  # emoji, each with a mark that says how to draw it
        ("I \u2764\ufe0f tea", "i tea", True),
    ],
)
def test_what_gives_an_answer_away_is_found_in_any_script(one, other, alike):
    search = leaks.LeakSearch([HistoryItem("item", one)])
    assert search.find(Query("q", "u", "a question"), other) == (["item"] if alike else [])
