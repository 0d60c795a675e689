"""Log p of neutral texts: that of a plain forward pass, under each query's edits, and nothing else of the method."""

import math

import pytest
import torch

from harness.api import Edits, Personalizer, Query
from harness.conformance.toys import ToyTask
from harness.model.lm import load
from harness.running.evaluation import evaluate
from harness.running.neutral_texts import NEUTRAL_TEXTS
from harness.running.side_effects import ask, side_effects

QUERIES = [Query(f"q{number}", f"u{number % 3}", "a trail") for number in range(24)]


class Noted(Personalizer):
    """Adds words to the prompt, and a vector to the first layer's output for the users u0 and u1."""

    def __init__(self, size):
        self.size = size

    def prompt(self, query, history):
        return ToyTask().prompts.base(query.text, history, note="Mind this.")

    def edits(self, queries):
        bank = self.size * torch.randn((2, 1, 32), generator=torch.Generator().manual_seed(0))
        rows = [int(query.user[1:]) for query in queries]
        return Edits(layers=(0,), rows=tuple(row if row < 2 else -1 for row in rows), offset=bank)

    def answers(self, queries):
        return None

    def save(self, directory):
        """Nothing to write."""


@pytest.fixture
def lm(model_folder):
    found = load(str(model_folder("llama")))
    found.max_length = 1024  # of a byte-level tokenizer the texts are long
    return found


def plain(lm, text, offset):
    """Log p per token by one unpadded forward pass of transformers."""
    topic, answer = NEUTRAL_TEXTS[text]
    source = lm.prompt_ids(f"Write two sentences about {topic}. Your answer:")
    target = [*lm.answer_ids(answer), lm.answer_end]
    hook = lm.model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: output + offset)
    with torch.no_grad():
        logits = lm.model(torch.tensor([source + target])).logits[0, len(source) - 1 : -1].double()
    hook.remove()
    return float(logits.log_softmax(-1)[range(len(target)), target].mean())


def neutral_nats(lm, personalizer, queries):
    return [math.nan if found is None else found.nats for found in ask(lm, personalizer, queries)]


def begun(lm, text, offset):
    """The first tokens of a greedy answer by transformers' own `generate`."""
    ids = torch.tensor([lm.prompt_ids(f"Write two sentences about {NEUTRAL_TEXTS[text][0]}. Your answer:")])
    hook = lm.model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: output + offset)
    found = lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12)
    hook.remove()
    return found[0, ids.shape[1] :].tolist()


def test_each_query_has_a_text_in_turn_under_its_users_edit(lm):
    found = neutral_nats(lm, Noted(1.0), QUERIES)
    bank = Noted(1.0).edits(QUERIES).offset
    for number in (0, 1, 2, 19, 20, 23):
        row = number % 3
        assert found[number] == pytest.approx(plain(lm, number % 20, bank[row, 0] if row < 2 else 0.0), abs=1e-4)
    assert found[0] != pytest.approx(neutral_nats(lm, Noted(0.0), QUERIES)[0])


def test_equal_edits_are_measured_once(lm):
    asked = []
    measure = lm.generate_scored
    lm.generate_scored = lambda prompts, *rest: asked.extend(prompts) or measure(prompts, *rest)
    alike = [Query(f"q{number}", "u0", "") for number in range(50)]
    assert len(set(neutral_nats(lm, Noted(1.0), alike))) == len(asked) == len(NEUTRAL_TEXTS)


def test_an_answer_is_changed_where_it_begins_otherwise_than_the_models_own(lm):
    bank = Noted(0.3).edits(QUERIES).offset
    found = side_effects(lm, ask(lm, Noted(0.3), QUERIES))["neutral_changed"]
    for number, query in enumerate(QUERIES):
        row, text = int(query.user[1:]), number % 20
        offset = bank[row, 0] if row < 2 else 0.0
        assert found[number] == float(begun(lm, text, offset) != begun(lm, text, 0.0))
    assert set(found) == {0.0, 1.0}


def test_nothing_is_known_of_texts_that_do_not_fit(lm):
    lm.max_length = 20
    found = ask(lm, Noted(1.0), QUERIES)
    assert found == [None] * len(QUERIES)
    assert side_effects(lm, found).isna().all(axis=None)


def test_an_evaluation_has_it_in_its_samples_and_off_its_tokens(lm):
    histories = {query.id: () for query in QUERIES}
    golds = {query.id: "comedy" for query in QUERIES}
    found = evaluate(lm, ToyTask(), Noted(1.0), QUERIES, histories, golds, likelihood=True)
    expected = side_effects(lm, ask(lm, Noted(1.0), QUERIES))
    assert found.samples[list(expected)].equals(expected)
    assert {"neutral_nats", "neutral_changed"} <= set(found.likelihood.means)
    assert min(found.likelihood.cost.tokens_in, found.likelihood.cost.tokens_out) > 0


def test_who_answers_without_the_model_has_no_side_effects(lm):
    class FromElsewhere(Noted):
        def answers(self, queries):
            return ["comedy"] * len(queries)

    histories = {query.id: () for query in QUERIES}
    golds = {query.id: "comedy" for query in QUERIES}
    found = evaluate(lm, ToyTask(), FromElsewhere(1.0), QUERIES, histories, golds, likelihood=True)
    assert found.samples[["neutral_nats", "neutral_changed"]].isna().all(axis=None)
    assert (found.likelihood.cost.tokens_in, found.likelihood.cost.tokens_out) == (0, 0)
