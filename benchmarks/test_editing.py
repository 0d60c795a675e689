"""What an edit costs: edited generation against plain generation of the same prompts, in one run.

Floor: a projection is two passes over x, 4d floating-point operations per token, layer and direction. Against 2P per
token for a model of P parameters, both directions at two layers of tiny-llama (d = 128, P = 1.16 M) are 0.1% of the
arithmetic; what is measured above that is Python and memory traffic.
"""

from dataclasses import replace

import pytest
import torch

from harness.api import Edits
from harness.model.lm import load
from harness.registry import MODELS, TASKS
from harness.tasks.synthetic.world import synthetic_user

PROMPTS = 64


@pytest.fixture(scope="module")
def lm():
    return load(str(MODELS.get("tiny-llama")), batch_size=PROMPTS)


@pytest.fixture(scope="module")
def prompts():
    prompts = TASKS.get("lamp7")().prompts
    users = [synthetic_user("lamp7", "dev", index, history_size=8) for index in range(PROMPTS)]
    return [prompts.base(user.queries[0].text, user.history) for user in users]


def edits(lm, users):
    """Edits of strength zero: the full arithmetic, but the same answers, so that all runs generate the same tokens."""
    generator = torch.Generator().manual_seed(0)
    personal, neutral = (torch.randn((users, 2, lm.hidden_size), generator=generator) for _ in range(2))
    rows = tuple(number % users for number in range(PROMPTS))
    return Edits((1, 2), rows, personal, neutral, strength=torch.zeros((users, 2)))


@pytest.mark.benchmark(group="64 prompts of lamp7")
@pytest.mark.parametrize("users", [0, 1, PROMPTS], ids=["plain", "one direction", "a direction per prompt"])
def test_generation(benchmark, lm, prompts, users):
    benchmark(lm.generate, prompts, 24, edits(lm, users) if users else None)


@pytest.mark.benchmark(group="64 users, one direction each")
@pytest.mark.parametrize("together", [True, False], ids=["one mixed batch", "user by user"])
def test_mixed_users_in_one_batch_against_one_user_at_a_time(benchmark, lm, prompts, together):
    bank = edits(lm, PROMPTS)

    def solo():
        for row, prompt in enumerate(prompts):
            lm.generate([prompt], 24, replace(bank, rows=(row,)))

    benchmark.pedantic((lambda: lm.generate(prompts, 24, bank)) if together else solo, rounds=3, iterations=1)
