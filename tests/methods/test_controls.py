"""Controls do what they are named for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.api import Edits, HistoryItem, Query
from harness.conformance.method_checks import SPEC
from harness.conformance.toys import toy_queries, toy_users
from harness.methods.aloe import Aloe
from harness.methods.caa import Caa, CaaConfig
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.stored_pairs import StoredGroups
from harness.methods.controls.fixed_answers import Constant, UserMajority
from harness.methods.controls.no_history import NoHistory
from harness.methods.controls.other_directions import (
    MeanDifference,
    MeanDifferenceConfig,
    RandomDirection,
    RandomDirectionConfig,
    RandomOffset,
    mean_change,
)
from harness.methods.controls.other_users import (
    ShuffledAloe,
    ShuffledDpo,
    ShuffledHistory,
    ShuffledLlmRec,
    ShuffledOppu,
    ShuffledPag,
    ShuffledPrompt,
    ShuffledRag,
    ShuffledStyleVector,
)
from harness.methods.fine_tuning.weights import LoraSettings
from harness.methods.instruct import Instruct
from harness.methods.llm_rec import LlmRec, LlmRecConfig
from harness.methods.nothing_to_set import NothingToSet
from harness.methods.oppu import Oppu, OppuConfig
from harness.methods.pag import Pag, PagConfig
from harness.methods.rag import Rag, RagConfig
from harness.methods.style_vector import StyleVector
from harness.model.editing import of_rows
from harness.running.retrieval import HistorySearch
from tests.methods.trained import dpo
from tests.toy_free_text import ToyFreeText

FAST = {"ccs": {"epochs": 20, "restarts": 2}, "insight_tokens": 8}
STRANGER = Query("q", "stranger", "a film")


def test_constant_is_the_commonest_answer(make_context):
    users = [toy_users(2)[0], *toy_users(6)[3:4], toy_users(2)[1]]  # comedy, comedy, classic
    fitted = Constant(NothingToSet()).fit(make_context(users=users))
    assert fitted.answers([*toy_queries(users), STRANGER]) == ["comedy"] * 4


def test_fixed_answers_are_counted_in_whole_histories_not_in_what_prompts_show(make_context):
    users = [replace(user, history=user.history[:1]) for user in toy_users(2)]  # comedy, classic
    whole = {
        users[0].id: (users[0].history[0], *(HistoryItem(f"more {n}", f"film {n}", "fantasy") for n in range(2))),
        users[1].id: users[1].history,
    }
    context = make_context(users=users, search=HistorySearch(lambda texts: np.ones((len(texts), 2)), whole))
    assert Constant(NothingToSet()).fit(context).answers([STRANGER]) == ["fantasy"]
    assert UserMajority(NothingToSet()).fit(context).answers(toy_queries(users)) == ["fantasy", "classic"]


@pytest.mark.parametrize("control", [Constant, UserMajority])
def test_without_any_history_they_are_the_commonest_of_the_examples(make_context, control):
    users = toy_users(2)[1:]  # classic
    fitted = control(NothingToSet()).fit(make_context(users=users, search=HistorySearch(lambda texts: texts, {})))
    assert fitted.answers([STRANGER]) == ["classic"]


def test_user_majority_is_the_users_own_answer(make_context):
    context = make_context()
    fitted = UserMajority(NothingToSet()).fit(context)
    queries = [*toy_queries(context.users), STRANGER]
    assert fitted.answers(queries)[:3] == ["comedy", "classic", "fantasy"]
    assert fitted.answers([STRANGER])[0] in context.task.labels
    assert all(fitted.serves(query) for query in queries)  # whoever has no answers of the own gets the commonest
    assert [fitted.knows(query) for query in queries] == [True] * len(context.users) + [False]
    assert Constant(NothingToSet()).fit(context).knows(STRANGER)


@pytest.mark.parametrize("control", [Constant, UserMajority])
def test_free_text_is_echoed(make_context, control):
    context = make_context(task=ToyFreeText())
    fitted = control(NothingToSet()).fit(context)
    assert fitted.answers([STRANGER]) == ["a film"]
    assert fitted.knows(STRANGER)


def test_mean_change_is_that_of_a_plain_loop():
    random = torch.Generator().manual_seed(0)
    pairs = torch.randn(2, 1, 1, 3, 5, generator=random)
    personal, neutral = torch.randn(2, 1, 1, 5, generator=random)
    mask = torch.tensor([[True, True, False]])
    strength = torch.tensor([[0.7]])
    changes = []
    for x in pairs[:, 0, 0, :2].reshape(-1, 5).numpy():
        p, n = personal.numpy().ravel(), neutral.numpy().ravel()
        y = x + 0.7 * (x @ p) / (p @ p) * p
        y = y - 0.7 * (y @ n) / (n @ n) * n
        changes.append(np.linalg.norm(y - x))
    found = mean_change(pairs, mask, Edits((0,), (), personal, neutral), strength)
    assert found.item() == pytest.approx(np.mean(changes), rel=1e-5)


@pytest.mark.parametrize("subspace", ["full", "principal"])
@pytest.mark.parametrize("edit", ["both", "neutral"])
def test_random_direction_changes_as_much_as_chameleon(make_context, monkeypatch, subspace, edit):
    seen = {}
    monkeypatch.setattr(
        "harness.methods.controls.other_directions.mean_change",
        lambda *arguments: seen.setdefault("first", arguments) and mean_change(*arguments),
    )
    config = RandomDirectionConfig(**FAST, subspace=subspace, edit=edit, components=3)
    random = RandomDirection(config).fit(make_context()).banks
    pairs, mask, fitted, ones = seen["first"]
    found = Chameleon(ChameleonConfig(**FAST, edit=edit)).fit(make_context()).banks
    torch.testing.assert_close(fitted.neutral, found.neutral)
    target = mean_change(pairs, mask, fitted, ones)
    torch.testing.assert_close(mean_change(pairs, mask, random, random.strength), target, rtol=1e-3, atol=1e-4)
    assert random.layers == found.layers
    assert (random.personal is None) == (edit == "neutral")
    assert torch.cosine_similarity(random.neutral, found.neutral, dim=-1).abs().max() < 0.99
    if subspace == "principal":
        rows = torch.cat(list(pairs[:, 0, 0]))
        span = torch.linalg.svd(rows).Vh[:3]
        inside = random.neutral[0, 0] @ span.T @ span
        torch.testing.assert_close(inside, random.neutral[0, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("own_layers", [False, True])
def test_random_directions_of_many_groups_are_drawn_some_groups_at_a_time(make_context, monkeypatch, own_layers):
    config = {**FAST, "group_size": 1 if own_layers else 2, "min_pairs": 1, "num_layers": 1}
    users = toy_users(4, examples=4)
    whole = RandomDirection(RandomDirectionConfig(**config)).fit(make_context(users=users)).banks
    read, part = [], StoredGroups.part
    monkeypatch.setattr("harness.methods.chameleon.directions._PART", 1)
    monkeypatch.setattr(StoredGroups, "part", lambda *given: read.append(found := part(*given)) or found)
    found = RandomDirection(RandomDirectionConfig(**config)).fit(make_context(users=users)).banks
    assert {len(one.counts) for one in read} == {1}
    assert found.layers == whole.layers
    assert found.personal.shape == whole.personal.shape
    assert (found.places is None) == (whole.places is None)
    assert found.strength.shape == found.personal.shape[:2]
    assert found.strength.min() > 0


def test_a_direction_in_the_span_of_few_pairs_stays_in_it(make_context):
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(2, 2, 1, 10, 64, generator=generator)
    pairs[:, 0, :, 1:] = 0  # one pair beside ten: the others are padding
    drawn = RandomDirection(RandomDirectionConfig(**FAST, subspace="principal"))._draw(pairs, generator)
    span = torch.linalg.svd(pairs[:, 0, 0, 0], full_matrices=False).Vh
    torch.testing.assert_close(drawn[0, 0] @ span.T @ span, drawn[0, 0], rtol=1e-4, atol=1e-4)


def test_shuffled_history_fits_on_others_histories_and_shows_the_own(make_context):
    context = make_context()
    asked = []
    generate = context.lm.generate
    context.lm.generate = lambda prompts, *rest, **kw: asked.extend(prompts) or generate(prompts, *rest, **kw)
    recorded = context.lm.generate_represented
    context.lm.generate_represented = lambda prompts, *rest, **kw: (
        asked.extend(prompts) or recorded(prompts, *rest, **kw)
    )
    fitted = ShuffledHistory(ChameleonConfig(**FAST)).fit(context)
    query = toy_queries(context.users)[0]
    assert "user 0" in fitted.prompt(query, context.users[0].history)
    agents = [prompt for prompt in asked if "New:" in prompt]
    about = [prompt for prompt in agents if "of user 0. Which" in prompt]
    assert about
    assert all("of user 1:" in prompt and "of user 0:" not in prompt for prompt in about)


def test_shuffled_history_paraphrases_under_the_others_history(make_context):
    """Where the examples have no input, it is written by the model, who must not see the user's own history either."""
    context = make_context(task=ToyFreeText())
    asked = []
    generate = context.lm.generate
    context.lm.generate = lambda prompts, *rest, **kw: asked.extend(prompts) or generate(prompts, *rest, **kw)
    ShuffledHistory(ChameleonConfig(**FAST)).fit(context)
    heads = {prompt.split("New:")[1].split(".")[0]: prompt.split("New:")[0] for prompt in asked if "New:" in prompt}
    for number, user in enumerate(context.users):
        for example in user.examples:
            head = heads[f" {example.answer}"]
            assert f"of user {(number + 1) % 6}:" in head
            assert f"of user {number}:" not in head
    assert all(f"of {user.id}" in user.history[0].text for user in context.users)


def test_shuffled_aloe_learns_users_answers_beside_others_histories(make_context, trainers):
    context = make_context()
    fitted = ShuffledAloe(Aloe.Config(learning_rate=1e-2, batch_size=4, accumulation=1)).fit(context)
    rows = [context.lm.tokenizer.decode(row["input_ids"]) for row in trainers[0].train_dataset]
    answers = {user.id: user.examples[0].answer for user in context.users}
    assert len(rows) == 12
    for number, user in enumerate(context.users):
        other = context.users[(number + 1) % 6].id
        own = [row for row in rows if f"of {other}:" in row]
        assert len(own) == 2
        assert all(row.split("Your answer:")[1].strip().startswith(answers[user.id]) for row in own)
    assert "user 0" in fitted.prompt(toy_queries(context.users)[0], context.users[0].history)


def test_shuffled_dpo_prefers_users_answers_beside_others_histories(make_context, trainers):
    context = make_context()
    fitted = ShuffledDpo(dpo().config).fit(context)
    answers = {user.id: user.examples[0].answer for user in context.users}
    decode = context.lm.tokenizer.decode
    rows = [(decode(row["prompt_ids"]), decode(row["chosen_ids"])) for row in trainers[0].train_dataset]
    assert rows
    for prompt, chosen in rows:
        [shown] = [number for number, user in enumerate(context.users) if f"of {user.id}:" in prompt]
        assert chosen.strip().startswith(answers[context.users[shown - 1].id])
    assert "user 0" in fitted.prompt(toy_queries(context.users)[0], context.users[0].history)


def test_shuffled_prompt_shows_the_next_user_s_history_where_prompts_show_any(make_context, tmp_path):
    context = make_context(users=toy_users(3))
    method = ShuffledPrompt(NothingToSet())
    method.fit(context).save(tmp_path)
    fitted = method.load(tmp_path, context.task)
    shown = [fitted.retrieve(query, user.history, context.search) for query, user in _asked(context.users)]
    assert shown == [user.history for user in [*context.users[1:], context.users[0]]]
    stranger = Query("q", "stranger", "?")
    assert fitted.retrieve(stranger, context.users[0].history, context.search) == context.users[0].history
    assert not fitted.serves(stranger)
    assert [fitted.retrieve(query, (), context.search) for query, _ in _asked(context.users)] == [()] * 3


@pytest.mark.parametrize("selection", ["bm25", "dense"])
def test_shuffled_prompt_shows_what_the_query_finds_where_the_run_selects_by_it(make_context, tmp_path, selection):
    context = make_context(users=toy_users(3), embedder=_letters)
    context.select.spec = SPEC.model_copy(update={"selection": selection, "history": 2})
    method = ShuffledPrompt(NothingToSet())
    method.fit(context).save(tmp_path)
    fitted = method.load(tmp_path, context.task)
    donors = [*context.users[1:], context.users[0]]
    for (query, _), donor in zip(_asked(context.users), donors, strict=True):
        own = context.select.for_query(query)
        assert fitted.retrieve(query, own, context.search) == context.select.for_query(replace(query, user=donor.id))
        assert len(fitted.retrieve(query, own[:1], context.search)) == 1
        assert fitted.retrieve(query, (), context.search) == ()
    history = context.users[0].history
    assert fitted.retrieve(STRANGER, history, context.search) == history
    assert not fitted.serves(STRANGER)


def _letters(texts):
    return np.array([[1 + text.count(letter) for letter in "aceiot"] for text in texts], np.float32)


@pytest.mark.parametrize("k", [None, 2, 9])
def test_shuffled_rag_shows_what_the_query_finds_in_the_next_history_as_many_items_as_in_the_own(
    make_context, tmp_path, k
):
    users = [*toy_users(3), replace(toy_users(4)[3], history=())]  # the last has nothing to index
    context = make_context(users=users, embedder=_letters)
    method, config = ShuffledRag(RagConfig(by="dense", k=k)), RagConfig(by="dense", k=k)
    method.fit(context).save(tmp_path)
    fitted, own = method.load(tmp_path, context.task), Rag(config).fit(make_context(users=users, embedder=_letters))
    for number, user in enumerate(users[:3]):
        query, history = Query("q", user.id, "letters of a detective"), user.history[:3]
        shown, donor = fitted.retrieve(query, history, context.search), users[(number + 1) % 3]
        assert len(shown) == len(own.retrieve(query, history, context.search))
        assert shown == own.retrieve(replace(query, user=donor.id), donor.history[:3], context.search)
        assert all(item.id.startswith(donor.id) for item in shown)
    assert [fitted.serves(Query("q", user.id, "")) for user in users] == [True, True, True, False]


@pytest.mark.parametrize(
    ("method", "control", "config"),
    [(LlmRec, ShuffledLlmRec, LlmRecConfig()), (Pag, ShuffledPag, PagConfig(k=2))],
)
def test_shuffled_notes_are_those_of_the_next_user_who_has_one_beside_the_own_history(
    make_context, method, control, config
):
    users = [replace(user, history=user.history[: 0 if user.id == "user 1" else None]) for user in toy_users(4)]
    context = make_context(users=users)
    own, other = method(config).fit(make_context(users=users)), control(config).fit(context)
    said = [own.notes[f"user {number}"] for number in (0, 2, 3)]
    assert len(set(said)) == 3
    assert other.notes == dict(zip(("user 0", "user 2", "user 3"), [*said[1:], said[0]], strict=True))
    query, history = toy_queries(toy_users(1))[0], users[0].history
    shown = other.retrieve(query, history, context.search)
    assert shown == own.retrieve(query, history, context.search)
    assert other.prompt(query, shown) == context.task.prompts.base(query.text, shown, note=said[1])
    assert not other.serves(Query("q", "user 1", "?"))


def test_shuffled_style_vector_gives_each_user_the_vector_of_the_next_who_has_one(make_context):
    users = [replace(user, examples=() if user.id == "user 1" else user.examples) for user in toy_users(4)]
    own, other = (kind(CaaConfig()).fit(make_context(users=users)) for kind in (StyleVector, ShuffledStyleVector))
    assert torch.equal(own.banks.offset, other.banks.offset)
    ordered = ["user 0", "user 2", "user 3"]
    for user, donor in zip(ordered, [*ordered[1:], ordered[0]], strict=True):
        [one, two] = [of_rows(fitted.banks, [fitted.rows[who]]).offset for fitted, who in ((own, donor), (other, user))]
        assert torch.equal(one, two)
        assert other.rows[user] != own.rows[user]
    assert not other.serves(Query("q", "user 1", "?"))


@pytest.mark.parametrize("where", [{}, {"layers": [0, 2], "site": "block", "edit_positions": "generated"}])
def test_a_random_offset_is_as_long_as_caas_at_the_same_place_and_drawn_from_the_seed(make_context, where):
    config = CaaConfig(**where, strength=0.5)
    found = Caa(config).fit(make_context())
    drawn, again, other = (RandomOffset(config).fit(make_context(seed=seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(drawn.banks.offset.norm(dim=-1), found.banks.offset.norm(dim=-1))
    assert torch.equal(drawn.banks.offset, again.banks.offset)
    for one in (found, other):
        assert torch.nn.functional.cosine_similarity(drawn.banks.offset, one.banks.offset, dim=-1).abs().max() < 0.9
    for name in ("layers", "site", "positions"):
        assert getattr(drawn.banks, name) == getattr(found.banks, name)
    assert (drawn.rows, drawn.default_row) == (found.rows, found.default_row)


def test_a_random_offset_of_nothing_is_no_edit(make_context):
    users = [replace(user, examples=()) for user in toy_users(2)]
    assert RandomOffset(CaaConfig()).fit(make_context(users=users)).banks is None


def test_no_history_asks_as_instruct_asks_whoever_has_none(make_context, tmp_path):
    context = make_context(users=toy_users(3))
    method = NoHistory(NothingToSet())
    method.fit(context).save(tmp_path)
    fitted, plain = method.load(tmp_path, context.task), Instruct(NothingToSet()).fit(context)
    for query, user in _asked(context.users):
        assert user.history
        shown = fitted.retrieve(query, user.history, context.search)
        assert shown == ()
        assert fitted.prompt(query, shown) == plain.prompt(query, ()) != plain.prompt(query, user.history)


def _asked(users):
    return zip(toy_queries(users), users, strict=False)


def test_shuffled_oppu_gives_each_user_the_adapter_of_the_next(make_context):
    config = OppuConfig(learning_rate=1e-2, batch_size=2, items=2, lora=LoraSettings(r=2, alpha=6))
    own, other = (kind(config).fit(make_context(users=toy_users(3))) for kind in (Oppu, ShuffledOppu))
    assert own.users == other.users == ("user 0", "user 1", "user 2")
    for name, (a, b) in own.own.items():
        assert torch.equal(other.own[name][0], a.roll(-1, 0))
        assert torch.equal(other.own[name][1], b.roll(-1, 0))
        assert not torch.equal(b[0], b[1])
        assert all(map(torch.equal, own.common[name], other.common[name]))


def test_mean_difference_is_an_offset(make_context):
    banks = MeanDifference(MeanDifferenceConfig(**FAST)).fit(make_context()).banks
    double = MeanDifference(MeanDifferenceConfig(**FAST, strength=2.0)).fit(make_context()).banks
    assert (banks.personal, banks.neutral, banks.strength) == (None, None, None)
    assert banks.offset.abs().sum() > 0
    torch.testing.assert_close(double.offset, 2 * banks.offset)


def test_mean_difference_leaves_layers_alone_that_a_group_did_not_choose(make_context):
    users = toy_users(4, examples=4)
    config = {**FAST, "group_size": 1, "num_layers": 1}
    found = of_rows(Chameleon(ChameleonConfig(**config)).fit(make_context(users=users)).banks, range(4))
    own = MeanDifference(MeanDifferenceConfig(**config)).fit(make_context(users=users)).banks
    banks = of_rows(own, range(4))
    assert len(banks.layers) > 1
    assert own.offset.shape[1] == 1
    assert torch.equal(banks.offset.any(-1), found.neutral.any(-1))
    assert torch.equal(found.neutral.any(-1).sum(1), torch.ones(4, dtype=torch.long))


@pytest.mark.parametrize(("selection", "shown"), [("pca", 4), ("bm25", 1)])
def test_others_histories_are_selected_as_the_run_selects_the_own(make_context, monkeypatch, selection, shown):
    monkeypatch.setattr(Aloe, "fit", lambda self, context: context.users)
    context = make_context(users=toy_users(3))
    context.select.spec = SPEC.model_copy(update={"selection": selection, "history": 1})
    for user, donor in zip(ShuffledAloe(Aloe.Config()).fit(context), [*toy_users(3)[1:], toy_users(1)[0]], strict=True):
        second = user.examples[1]
        assert len(second.history) == shown
        assert user.history == donor.history
        if selection == "bm25":
            [item] = second.history
            assert item.text == second.query.replace(user.id, donor.id)


def test_one_user_has_nobody_to_shuffle_with(make_context, monkeypatch):
    users = toy_users(1, examples=4)
    fitted = ShuffledHistory(ChameleonConfig(**FAST)).fit(make_context(users=users))
    assert fitted.banks is not None
    monkeypatch.setattr(Aloe, "fit", lambda self, context: context.users)
    assert ShuffledAloe(Aloe.Config()).fit(make_context(users=users)) == users, "an example beside its own answer"
