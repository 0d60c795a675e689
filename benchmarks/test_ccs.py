"""CCS of all layers and restarts in one program, against a loop over them as one would write it, in one run.

SmolLM2's shape: 30 layers, 10 restarts, 100 pairs, d = 576. Floor: a logit and its gradient are each a product with the
pairs, 4 x 2K x d floating-point operations per layer, restart and epoch: 1.4 GFLOP an epoch.
"""

import pytest
import torch

from harness.methods.chameleon.ccs import CcsConfig, fit_ccs

LAYERS, PAIRS, SIZE = 30, 100, 576
CONFIG = CcsConfig(epochs=60)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(2, 1, LAYERS, PAIRS, SIZE, generator=generator) + 1
    pairs[0, ..., 0] += 1
    pairs[1, ..., 0] -= 1
    return pairs


def together(pairs):
    """Losses [L] of the best restarts."""
    return fit_ccs(pairs, torch.ones(1, PAIRS, dtype=torch.bool), CONFIG, seed=0).loss[0]


def looped(pairs):
    """The same from the same starts, by autograd, a layer and a restart at a time."""
    starts = torch.randn(CONFIG.restarts, SIZE, generator=torch.Generator().manual_seed(0)) / SIZE**0.5
    return torch.stack([min(one(layer, start) for start in starts) for layer in pairs[:, 0].unbind(dim=1)])


def one(pairs, start):
    both = pairs.flatten(0, 1)
    personal, neutral = (pairs - both.mean(dim=0)) / both.std(dim=0, correction=0)
    weight, bias = start.clone().requires_grad_(), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=CONFIG.learning_rate, weight_decay=CONFIG.weight_decay)

    def loss():
        p, n = torch.sigmoid(personal @ weight + bias), torch.sigmoid(neutral @ weight + bias)
        return ((n - (1 - p)) ** 2 + torch.minimum(n, p)).mean()

    for _ in range(CONFIG.epochs):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return loss().detach()


@pytest.mark.benchmark(group="30 layers, 10 restarts, 100 pairs, d 576")
@pytest.mark.parametrize("solve", [looped, together])
def test_layers_and_restarts_together_against_one_by_one(benchmark, pairs, solve):
    found = benchmark.pedantic(solve, args=(pairs,), rounds=1, warmup_rounds=0)
    torch.testing.assert_close(found, together(pairs), atol=1e-5, rtol=1e-4)
