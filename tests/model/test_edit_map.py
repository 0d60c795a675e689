"""The map of edits (`benchmarks/edit_sites.py`): gain and KL of a setting, by plain forward passes with a hook."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.edit_sites import OFFSET, Setting, edits_of, measure, questions
from harness.conformance.toys import ToyTask, toy_queries, toy_users
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
    first = len(prompt) if setting.positions == "generated" else 0

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
@pytest.mark.parametrize("positions", ["all", "generated"])
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
