"""The positive control's parts: the edit is the paper's projection, and its random rival moves activations as far."""

import numpy as np
import pytest
import torch

from harness.tasks.synthetic import TINY_LLAMA
from harness.tasks.synthetic.control import KINDS, POSITIONS, Choice, gold_directions, random_edits, scores
from harness.tasks.synthetic.model_figures import cases, interval, plain_prompts
from harness.tasks.synthetic.probe import Probe


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe.load(TINY_LLAMA.folder)


def test_removing_a_direction_leaves_nothing_of_it_and_adding_doubles_it(probe: Probe) -> None:
    direction = torch.nn.functional.normalize(torch.ones(probe.model.config.hidden_size), dim=0)
    prompts = plain_prompts("lamp7", cases("lamp7", "dev", 3, 2))
    before = probe.all_mlp_outputs(prompts)[0] @ direction
    for strength, factor in ((-1.0, 0.0), (1.0, 2.0)):
        with probe.edited({0: [(direction, strength)]}):
            after = probe.all_mlp_outputs(prompts)[0] @ direction
        torch.testing.assert_close(after, factor * before, rtol=1e-3, atol=1e-4)


def test_no_hook_survives_an_error(probe: Probe) -> None:
    direction = torch.ones(probe.model.config.hidden_size)
    with pytest.raises(RuntimeError, match="stop"), probe.edited({0: [(direction, 1.0)]}):
        raise RuntimeError("stop")
    assert not any(layer.mlp._forward_hooks for layer in probe.model.model.layers)


@pytest.mark.parametrize("inside", [False, True])
def test_random_edits_move_activations_as_far(probe: Probe, inside: bool) -> None:
    rows = cases("lamp7", "tune", 8, 2)
    directions = gold_directions(probe, "lamp7", rows)
    assert set(directions) == {(kind, position) for kind in KINDS for position in POSITIONS}
    edits = Choice("mean_difference", "answer_start", "remove", (0, 2)).edits(directions)
    sample = probe.all_mlp_outputs(plain_prompts("lamp7", rows))
    for layer, terms in random_edits(edits, sample, 1, inside).items():
        for (direction, strength), (other, other_strength) in zip(edits[layer], terms, strict=True):
            moved = (strength * sample[layer] @ direction).abs().mean()
            torch.testing.assert_close((other_strength * sample[layer] @ other).abs().mean(), moved)


def test_scores_agree_with_greedy_decoding(probe: Probe) -> None:
    rows = cases("lamp7", "dev", 10, 4)
    exact, _ = scores(probe, "lamp7", rows, None)
    answers = probe.answers(plain_prompts("lamp7", rows))
    np.testing.assert_array_equal(
        exact, [answer == row.query.personal for answer, row in zip(answers, rows, strict=True)]
    )


def test_interval_holds_the_mean() -> None:
    mean, low, high = interval(np.array([0.0, 1.0] * 50))
    assert low < mean == 0.5 < high
