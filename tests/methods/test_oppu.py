"""OPPU: whose history trains which adapter, what the training is, who falls back to what, and when the clock ends."""

from dataclasses import replace

import pytest
import torch
from peft import get_peft_model, set_peft_model_state_dict
from torch.nn.functional import cross_entropy

from harness.api import Query
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.training_data import Row
from harness.methods.fine_tuning.user_adapters import UserAdapters
from harness.methods.fine_tuning.user_training import UserTraining
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.methods.oppu import Oppu, OppuConfig
from harness.running.clock import BudgetClock
from harness.running.preparation import Selector
from harness.running.retrieval import HistorySearch
from tests.methods.trained import Ticks
from tests.running.test_preparation import SPEC, embed, prepared, write_split
from tests.toy_free_text import ToyFreeText

LORA = LoraSettings(r=2, alpha=6)
STRANGER = Query("q", "stranger", "a movie")


def oppu(**config):
    return Oppu(OppuConfig(**{"learning_rate": 1e-2, "batch_size": 2, "items": 2, "lora": LORA, **config}))


@pytest.fixture
def trained_on(monkeypatch):
    """By user, the records that their adapters were trained on."""
    seen: dict[str, list[Row]] = {}
    original = UserTraining.train

    def train(self, rows, seed):
        seen[rows[0].user] = list(rows)
        return original(self, rows, seed)

    monkeypatch.setattr(UserTraining, "train", train)
    return seen


def own_factors(fitted, user):
    place = fitted.users.index(user)
    return {name: (a[place], b[place]) for name, (a, b) in fitted.own.items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(x, y) for name in one for x, y in zip(one[name], other[name], strict=True)
    )


def test_another_users_history_changes_no_bit_of_an_adapter(make_context):
    users = toy_users(3)
    changed = [
        user if user.id == "user 1" else replace(user, history=toy_users(9)[number + 5].history)
        for number, user in enumerate(users)
    ]
    found = [
        own_factors(oppu(task_adapter=False).fit(make_context(users=chosen)), "user 1")
        for chosen in (users, changed, users[1:2], users[::-1])
    ]
    assert all(same(found[0], other) for other in found[1:])
    assert not same(found[0], own_factors(oppu(task_adapter=False).fit(make_context(users=users)), "user 2"))
    own = [replace(user, history=user.history[:1]) if user.id == "user 1" else user for user in users]
    assert not same(found[0], own_factors(oppu(task_adapter=False).fit(make_context(users=own)), "user 1"))


@pytest.mark.parametrize("task_adapter", [True, False])
def test_a_user_learns_from_their_whole_history_and_no_prompt_shows_its_own_answer(
    make_context, trained_on, task_adapter
):
    context = make_context(users=toy_users(3))
    oppu(items=None, task_adapter=task_adapter).fit(context)
    prompts = context.task.prompts
    for user in context.users:
        expected = {
            (prompts.base(item.text, [one for one in user.history if one != item]), item.label) for item in user.history
        }
        assert {(row.prompt, row.answers["completion"]) for row in trained_on[user.id]} == expected
        assert {row.user for row in trained_on[user.id]} == {user.id}


@pytest.mark.parametrize("selection", ["pca", "bm25"])
def test_an_item_is_learned_beside_what_the_run_selects_for_it_which_leaves_out_its_copies(
    make_context, trained_on, selection
):
    [user] = toy_users(1)
    copied = replace(user.history[0], id="copy", text=user.history[0].text.upper() + "!")
    whole = {user.id: (*user.history, copied)}
    select = Selector(SPEC.model_copy(update={"selection": selection, "history": 2}), embed, whole)
    context = make_context(
        users=[replace(user, history=select(user.id))], select=select, search=HistorySearch(embed, whole)
    )
    oppu(items=None, task_adapter=False).fit(context)
    shown = {item: select.for_example(user.id, item, item.text, item.label) for item in whole[user.id]}
    assert {len(items) for items in shown.values()} == {2}
    assert not {user.history[0].id, "copy"} & {item.id for item in (*shown[user.history[0]], *shown[copied])}
    expected = {context.task.prompts.base(item.text, items) for item, items in shown.items()}
    assert {row.prompt for row in trained_on[user.id]} == expected


def test_what_gives_a_gold_away_is_not_learned_from(make_context, trained_on, tmp_path):
    leak = {"id": "leak", "text": "Question 0  of ann", "score": "3"}  # as the user is asked
    write_split(tmp_path, "dev", ["ann", "bob"], extra=[leak])
    pool = prepared(tmp_path, history=10).pool
    context = make_context(users=pool.users(0), task=pool.task, select=pool.select)
    context.search = HistorySearch(context.embedder, pool.select.whole)
    oppu(items=None, task_adapter=False).fit(context)
    assert {user: len(rows) for user, rows in trained_on.items()} == {"ann": 6, "bob": 7}
    assert not any("Question 0" in row.prompt for row in trained_on["ann"])


def test_the_newest_items_are_taken_where_there_are_too_many(make_context, trained_on):
    users = [
        replace(user, history=tuple(replace(item, date=f"20{30 - n}") for n, item in enumerate(user.history)))
        for user in toy_users(1)
    ]
    oppu(items=1, task_adapter=False).fit(make_context(users=users))
    [row] = trained_on["user 0"]
    assert f"New: {users[0].history[0].text}." in row.prompt


def test_inputs_that_a_history_lacks_are_the_base_models_paraphrases(make_context, toy_source, trained_on):
    task = ToyFreeText()
    context = make_context(users=toy_users(2, task=task), task=task)
    oppu(learning_rate=1.0).fit(context)  # so that an adapter left in would be seen
    lm, prompts = toy_source.pristine(), task.prompts
    for user in context.users:
        for row in trained_on[user.id]:
            answer = row.answers["completion"]
            shown = [item for item in user.history if item.text != answer]
            asked = prompts.neutral(answer, shown, prompts.generic_insight)
            [query] = lm.generate([asked], task.max_new_tokens, one_line=True)
            assert row.prompt == prompts.base(query.strip(), shown)


def by_hand(lm, rows, start, task, epochs, rate):
    """An adapter trained on one row after the other, with the task's merged into the weights and AdamW as it comes."""
    model = lm.model
    if task is not None:
        merged = get_peft_model(model, LORA.peft(model))
        set_peft_model_state_dict(merged, task)
        model = merged.merge_and_unload()
    adapted = get_peft_model(model, LORA.model_copy(update={"dropout": 0.0}).peft(model))
    set_peft_model_state_dict(adapted, start)
    weights = {name: weight for name, weight in adapted.named_parameters() if "lora_" in name}
    optimizer = torch.optim.AdamW(weights.values(), rate, weight_decay=0.01)
    for _ in range(epochs):
        losses, tokens = [], 0
        for row in rows:
            prompt, answer = lm.prompt_ids(row.prompt), [*lm.answer_ids(row.answers["completion"]), lm.answer_end]
            logits = adapted(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            losses.append(cross_entropy(logits, torch.tensor(answer), reduction="sum"))
            tokens += len(answer)
        (sum(losses) / tokens).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 0.3)
        optimizer.step()
        optimizer.zero_grad()
    return {name.replace(".default", ""): weight.detach() for name, weight in weights.items()}


@pytest.mark.parametrize("over_a_task", [True, False])
def test_an_adapter_is_what_plain_training_of_one_user_gives(make_context, toy_source, over_a_task):
    context = make_context()
    rows = [
        Row(context.task.prompts.base("a movie", user.history[: 1 + n]), {"completion": user.history[0].label}, "u")
        for n, user in enumerate(toy_users(3))
    ]
    task = None
    if over_a_task:
        task = oppu().fit(make_context(regime="unseen")).tensors
    lora = LORA.model_copy(update={"dropout": 0.0})
    config = oppu(batch_size=2, accumulation=2, scheduler="constant", warmup_ratio=0.0, num_epochs=3).config
    training = UserTraining(context, config, lora, task)
    training.train(rows[::-1], seed=5)  # which leaves nothing behind
    found = training.train(rows, seed=7)
    still = UserTraining(make_context(), config.model_copy(update={"learning_rate": 1e-30}), lora, task)
    start = still.train(rows[:1], seed=7)
    assert all((weight.abs() < 1e-20).all() == ("lora_B" in name) for name, weight in start.items())
    expected = by_hand(toy_source.pristine(), rows, start, task, 3, config.learning_rate)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=2e-4, rtol=1e-3)


def test_users_are_answered_with_their_adapter_over_the_tasks_as_peft_answers(make_context, toy_source, tmp_path):
    context = make_context(users=toy_users(2))
    fitted = oppu(num_epochs=10).fit(context)
    assert isinstance(fitted, UserAdapters)
    queries = [*toy_queries(context.users), STRANGER]
    prompts = [fitted.prompt(query, ()) for query in queries]
    found = toy_source.log_likelihood(prompts, ["comedy"] * 3, fitted.edits(queries))
    for place, query in enumerate(queries):
        lm = toy_source.pristine()
        model = lm.model
        for layers in [fitted.common, own_factors(fitted, query.user) if query.user in fitted.users else {}]:
            for name, (a, b) in layers.items():
                model.get_submodule(name).weight.data += b @ a
        expected = lm.log_likelihood(prompts[place : place + 1], ["comedy"])
        torch.testing.assert_close(found[place : place + 1], expected, atol=1e-4, rtol=1e-4)
    assert len(set(found.tolist())) == 3
    fitted.save(tmp_path)
    again = oppu().load(tmp_path, context.task)
    assert again.users == fitted.users
    assert same(again.own, fitted.own)
    assert same(again.common, fitted.common)


def test_training_makes_a_users_answers_likelier_on_an_encoder_decoder(make_context, t5):
    users = toy_users(2)
    context = make_context(users=users, lm=t5.pristine())
    fitted = oppu(num_epochs=20, items=1, task_adapter=False).fit(context)
    items = [context.search.search(query, "recency", 1)[0] for query in toy_queries(users)]
    shown = [[other for other in user.history if other != item] for user, item in zip(users, items, strict=True)]
    prompts = [context.task.prompts.base(item.text, rest) for item, rest in zip(items, shown, strict=True)]
    answers = [item.label for item in items]
    tuned = t5.log_likelihood(prompts, answers, fitted.edits(toy_queries(users)))
    assert (tuned > t5.log_likelihood(prompts, answers) + 1).all()


class Ticking:
    """Time passes by a second for each optimizer step of a user's adapter, and stands still otherwise."""

    def __init__(self, monkeypatch):
        self.time = 0.0
        original = UserTraining._gather

        def gather(training, records, begin_small):
            self.time += 1.0
            return original(training, records, begin_small)

        monkeypatch.setattr(UserTraining, "_gather", gather)

    def __call__(self):
        return self.time


@pytest.mark.parametrize("task_adapter", [True, False])
def test_users_that_the_clock_does_not_reach_fall_back_and_are_counted(make_context, monkeypatch, task_adapter):
    context = make_context(users=toy_users(4), clock=BudgetClock(2.9, now=Ticking(monkeypatch)))
    fitted = oppu(num_epochs=1, task_adapter=task_adapter).fit(context)
    assert fitted.users == ("user 0", "user 1")
    counts = context.report.counts
    assert (counts["user_adapters"], counts["users_without_adapter"]) == (2, 2)
    assert context.report.users_fitted == (4 if task_adapter else 2)
    assert context.clock.exhausted
    assert context.clock.reason.startswith("2 of 4 users got an adapter of their own: ")
    rows = fitted.edits([*toy_queries(context.users), STRANGER]).rows
    assert rows == ((0, 1, 2, 2, 2) if task_adapter else (0, 1, -1, -1, -1))
    assert [fitted.serves(query) for query in toy_queries(context.users)] == [True, True, task_adapter, task_adapter]
    assert [fitted.knows(query) for query in [*toy_queries(context.users), STRANGER]] == [True, True, *[False] * 3]


@pytest.mark.parametrize("seconds", [2.9, 60.0])
def test_the_reason_is_that_of_the_users_where_the_clock_ended_these_else_that_of_the_task(
    make_context, monkeypatch, seconds
):
    context = make_context(users=toy_users(4), clock=BudgetClock(seconds, now=Ticking(monkeypatch)))
    context.clock.exhausted, context.clock.reason = True, "no room for another example"
    oppu(num_epochs=1, task_adapter=False).fit(context)
    users = "2 of 4 users got an adapter of their own: user adapters: 2 of 4 items done"
    assert context.clock.reason.startswith(users if seconds == 2.9 else "no room for another example")


def test_a_long_history_is_not_gone_through_after_the_time_is_up(make_context, monkeypatch):
    time = [0.0]
    context = make_context(users=toy_users(1), clock=BudgetClock(2.5, now=lambda: time[0]))
    select = context.example_of

    def slow(*asked):
        time[0] += 1.0
        return select(*asked)

    monkeypatch.setattr(context, "example_of", slow)
    assert isinstance(oppu(items=None, task_adapter=False).fit(context), Unedited)
    assert time[0] == 3.0
    assert len(context.users[0].history) > 3
    assert context.clock.exhausted


def test_an_adapter_that_is_late_is_given_up(make_context, monkeypatch):
    context = make_context(users=toy_users(2), clock=BudgetClock(2.5, now=Ticking(monkeypatch)))
    fitted = oppu(num_epochs=5, task_adapter=False).fit(context)
    assert isinstance(fitted, Unedited)
    assert context.report.counts["users_without_adapter"] == 2
    assert context.clock.exhausted


def test_no_micro_batch_begins_that_will_not_end_in_time(make_context, monkeypatch):
    time, original = [0.0], UserTraining._likelihoods

    def slow(training, records):
        time[0] += 1.0
        return original(training, records)

    monkeypatch.setattr(UserTraining, "_likelihoods", slow)
    context = make_context(users=toy_users(1), clock=BudgetClock(4.5, now=lambda: time[0]))
    assert isinstance(oppu(batch_size=1, num_epochs=9, task_adapter=False).fit(context), Unedited)
    assert time[0] <= 4.0
    assert context.clock.exhausted


def test_those_who_are_not_evaluated_get_no_adapter_of_their_own(make_context):
    context = make_context(regime="unseen")
    fitted = oppu().fit(context)
    assert isinstance(fitted, Trained)
    assert fitted.knows(STRANGER)
    assert "user_adapters" not in context.report.counts


def test_the_tasks_adapter_keeps_to_its_share_of_the_clock(make_context, monkeypatch):
    ticks = Ticks(monkeypatch, seconds=1.0)
    context = make_context(clock=BudgetClock(10.0, now=ticks))
    fitted = oppu(batch_size=1, task_share=0.4, items=1, num_epochs=1).fit(context)
    assert 2.0 <= ticks.time <= 4.0
    assert len(fitted.users) == 6
    assert fitted.common is not None
