"""What edits do to gold answers: the map of settings (`benchmarks/edit_sites.py`) by plain forward passes with a hook.

And whole methods at equal strength (`benchmarks/equal_strength.py`).
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.edit_sites import OFFSET, Setting, edits_of, measure, questions
from benchmarks.equal_strength import at_kl, drawn_again, edits_at, scaled
from harness.api import Edits
from harness.conformance.toys import ToyTask, toy_queries, toy_users
from harness.methods.chameleon.steering import Steering
from harness.model.lm import HuggingFaceModel

LAYER = 1


@pytest.fixture
def asked(llama: HuggingFaceModel):
    """Questions of two users; a third gave the pairs."""
    users = toy_users(3)
    queries = toy_queries(users)
    prepared = SimpleNamespace(
        task=ToyTask(),
        queries=queries,
        histories={query.id: user.history[:2] for query, user in zip(queries, users, strict=True)},
        data=SimpleNamespace(
            golds={query.id: gold for query, gold in zip(queries, ["x", "comedy", "a tale"], strict=True)}
        ),
    )
    return questions(prepared, llama, {users[0].id}, 5, states=True)


def log_p(lm, prompt, answer, change, setting):
    """[T, V] along the answer, by transformers on the whole sequence, unpadded and without a cache."""
    first = {"all": 0, "answer": len(prompt) - 1, "generated": len(prompt)}[setting.positions]

    def hook(module, args, output):
        edited = output.clone()
        edited[:, first:] = change(output[:, first:])
        return edited

    block = lm.model.model.layers[setting.layer]
    handle = (block.mlp if setting.site == "mlp" else block).register_forward_hook(hook)
    with torch.no_grad():
        logits = lm.model(torch.tensor([prompt + answer[:-1]]), use_cache=False).logits[0, len(prompt) - 1 :]
    handle.remove()
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("site", ["mlp", "block"])
@pytest.mark.parametrize("positions", ["all", "answer", "generated"])
@pytest.mark.parametrize(("direction", "bounded"), [("svd_personal", False), ("svd_personal", True), (OFFSET, False)])
def test_gain_and_kl_are_those_of_plain_forward_passes(llama, asked, site, positions, direction, bounded):
    setting = Setting(site, LAYER, positions, direction, -0.7, bounded)
    bank = 2 * torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    unit = bank[LAYER] / bank[LAYER].norm()

    def change(x):
        if direction == OFFSET:
            return x - 0.7 * bank[LAYER]
        parts = x @ unit
        return x - 0.7 * (parts.tanh() if bounded else parts)[..., None] * unit

    gains, kls = [], []
    for prompt, answer in zip(asked.prompts, asked.answers, strict=True):
        edited = log_p(llama, prompt, answer, change, setting)
        plain = log_p(llama, prompt, answer, lambda x: x, setting)
        gains.append(float((edited - plain)[range(len(answer)), answer].mean()))
        kls.append(float((edited.exp() * (edited - plain)).sum(-1).mean()))
    found = measure(llama, asked, edits_of(setting, {direction: bank}, len(asked.answers)))
    assert found["questions"] == 2
    assert found["gain"] == pytest.approx(np.mean(gains), abs=1e-4)
    assert found["gain_se"] == pytest.approx(np.std(gains, ddof=1) / 2**0.5, abs=1e-4)
    assert found["kl"] == pytest.approx(np.mean(kls), abs=1e-4)
    assert abs(found["gain"]) > 1e-3 or bounded


@pytest.mark.parametrize("positions", ["all", "answer", "generated"])
def test_edits_of_many_layers_and_users_gain_what_the_likelihoods_of_the_harness_say(llama, asked, positions):
    personal, neutral = torch.randn(2, 2, 2, 32, generator=torch.Generator().manual_seed(1))
    banks = Edits((1, 2), (), personal, neutral, strength=torch.tensor([[0.3, 0.4], [0.5, 0.2]]), positions=positions)
    found = edits_at(Steering(ToyTask(), banks, {asked.queries[0].user: 1, asked.queries[1].user: 0}), asked)
    assert found.rows == (1, 0)
    double = scaled(found, 2)
    prompts = [llama.tokenizer.decode(prompt) for prompt in asked.prompts]
    answers = ["comedy", "a tale"]
    assert [llama.prompt_ids(prompt) for prompt in prompts] == asked.prompts
    after, before = (llama.log_likelihood(prompts, answers, edits) for edits in (double, None))
    tokens = torch.tensor([len(answer) for answer in asked.answers])
    assert measure(llama, asked, double)["gain"] == pytest.approx(float(((after - before) / tokens).mean()), abs=1e-4)


def test_a_factor_scales_what_an_edit_does(llama, asked):
    bank = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    for direction in ("svd_personal", OFFSET):
        half, whole = (
            edits_of(Setting("mlp", LAYER, "generated", direction, strength, False), {direction: bank}, 2)
            for strength in (0.5, 1.0)
        )
        assert measure(llama, asked, scaled(half, 2)) == pytest.approx(measure(llama, asked, whole))
        assert measure(llama, asked, scaled(replace(whole, strength=None), 1)) == pytest.approx(
            measure(llama, asked, whole)
        )
    assert measure(llama, asked, scaled(whole, 0)) == pytest.approx({"gain": 0, "gain_se": 0, "kl": 0, "questions": 2})


def test_random_directions_are_drawn_again_at_the_same_strength():
    edits = Edits((1,), (0,), torch.randn(1, 1, 32), torch.randn(1, 1, 32), strength=torch.tensor([[3.0]]))
    assert drawn_again(edits, 0) == edits
    first, second = drawn_again(edits, 1), drawn_again(edits, 2)
    assert first.strength is edits.strength
    drawn = [edits.personal, edits.neutral, first.personal, first.neutral, second.personal, second.neutral]
    units = torch.nn.functional.normalize(torch.cat(drawn).squeeze(1), dim=-1)
    assert (units @ units.T - torch.eye(6)).abs().max() < 0.9
    assert torch.equal(first.personal, drawn_again(edits, 1).personal)


def test_fits_that_edit_nothing_or_ask_in_their_own_words_are_not_compared(asked):
    assert edits_at(Steering(ToyTask(), None, {}), asked) is None
    banks = Edits((1,), (), offset=torch.ones(1, 1, 32))
    insights = {asked.queries[0].user: "likes long words"}
    with pytest.raises(ValueError, match="a prompt of its own"):
        edits_at(Steering(ToyTask(), banks, {}, 0, insights), asked)


def test_gains_are_read_off_at_a_kl_between_the_factors_measured():
    rows = [{"factor": f, "kl": 0.01 * f**2, "gain": 0.02 * f} for f in (-1, 0.5, 1, 2)]
    assert at_kl(rows, 0.01) == pytest.approx(0.02)
    assert at_kl(rows, 0.01 * 0.75**2) == pytest.approx(0.015)
    assert at_kl(rows, 0.01 * 0.25**2) == pytest.approx(0.005)
    assert np.isnan(at_kl(rows, 1.0))
