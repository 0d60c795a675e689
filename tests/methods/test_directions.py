"""The maths of Chameleon against plain NumPy, and against data whose direction was planted."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.methods.chameleon import directions_time
from harness.methods.chameleon.ccs import CcsConfig, ccs_loss, fit_ccs, problems_at_once
from harness.methods.chameleon.directions import (
    Grouped,
    choose_layers,
    find_directions,
    held_out_margin,
    tied_layers,
    top_direction,
)
from harness.methods.chameleon.directions_time import seconds_by_pairs

QUICK = CcsConfig(epochs=400, learning_rate=1e-2, restarts=4)


def planted(pairs: int, layers: int, size: int, gap: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with P and N apart by `gap` along coordinate 0 (layer 0 most, later layers less), far from the origin."""
    noise = torch.Generator().manual_seed(seed)
    personal, neutral = torch.randn(2, pairs, layers, size, generator=noise) + 3.0
    apart = gap / torch.arange(1, layers + 1)
    personal[..., 0] += apart
    neutral[..., 0] -= apart
    return personal, neutral


def one_group(personal: torch.Tensor, neutral: torch.Tensor) -> Grouped:
    return Grouped.of(personal, neutral, [range(len(personal))])


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.cosine_similarity(first, second, dim=0).abs())


def test_top_direction_is_numpys_first_right_singular_vector():
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)) + 2
    expected = np.linalg.svd(matrix.numpy())[2][0]
    padded = torch.cat([matrix, torch.zeros(4, 5)])
    for found in (top_direction(matrix), top_direction(padded)):
        assert abs(float(found @ torch.from_numpy(expected))) == pytest.approx(1, abs=1e-5)


def test_loss_is_the_papers_formula():
    rng = np.random.default_rng(0)
    personal, neutral = rng.uniform(size=(2, 6))
    expected = np.mean((neutral - (1 - personal)) ** 2 + np.minimum(neutral, personal))
    found = ccs_loss(torch.tensor(personal), torch.tensor(neutral), torch.ones(6, dtype=torch.bool))
    assert float(found) == pytest.approx(expected)


def test_reported_loss_and_direction_follow_from_the_probe_in_raw_space():
    grouped = one_group(*planted(12, 1, 6, gap=1.0))
    probe = fit_ccs(grouped.pairs, grouped.mask, QUICK, seed=0)
    personal, neutral = grouped.pairs[:, 0, 0].numpy()
    both = np.concatenate([personal, neutral])
    weight = probe.weight[0, 0].numpy() / both.std(axis=0)
    bias = probe.bias[0, 0].item() - weight @ both.mean(axis=0)
    np.testing.assert_allclose(probe.directions()[1, 0, 0].numpy(), weight, rtol=1e-4)
    gp, gn = (1 / (1 + np.exp(-(x @ weight + bias))) for x in (personal, neutral))
    assert probe.loss.item() == pytest.approx(np.mean((gn - (1 - gp)) ** 2 + np.minimum(gn, gp)), rel=1e-3)


def test_ccs_separates_planted_data_and_finds_the_direction():
    personal, neutral = planted(200, 1, 8, gap=4.0)
    grouped = one_group(personal, neutral)
    probe = fit_ccs(grouped.pairs, grouped.mask, QUICK, seed=0)
    assert probe.loss.item() < 0.05
    assert probe.margin(grouped.pairs, grouped.mask).item() > 0.8
    assert cosine(probe.directions()[1, 0, 0], torch.eye(8)[0]) > 0.9
    assert held_out_margin(grouped, QUICK, seed=0).item() > 0.8


def test_separate_normalization_scales_each_side_by_its_own_deviation():
    personal, neutral = planted(20, 1, 4, gap=1.0)
    grouped = one_group(personal * 3, neutral)
    config = QUICK.model_copy(update={"normalization": "separate"})
    probe = fit_ccs(grouped.pairs, grouped.mask, config, seed=0)
    np.testing.assert_allclose(probe.scale[0, 0, 0], (personal * 3)[:, 0].numpy().std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(probe.scale[1, 0, 0], neutral[:, 0].numpy().std(axis=0), rtol=1e-4)


def test_batched_groups_layers_and_restarts_equal_one_at_a_time():
    personal, neutral = planted(11, 3, 6, gap=1.0)
    config = CcsConfig(epochs=60, learning_rate=1e-2, restarts=3)
    rows = [range(0, 4), range(4, 11)]
    grouped = Grouped.of(personal, neutral, rows)
    batched = fit_ccs(grouped.pairs, grouped.mask, config, seed=7)
    for group, own in enumerate(rows):
        for layer in range(3):
            alone = one_group(personal[list(own), layer : layer + 1], neutral[list(own), layer : layer + 1])
            single = fit_ccs(alone.pairs, alone.mask, config, seed=7)
            torch.testing.assert_close(batched.weight[group, layer], single.weight[0, 0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(batched.loss[group, layer], single.loss[0, 0], rtol=1e-3, atol=1e-5)


def test_restarts_never_raise_the_loss_and_the_seed_decides():
    grouped = one_group(*planted(10, 2, 6, gap=0.5))
    short = CcsConfig(epochs=40, restarts=1)
    one = fit_ccs(grouped.pairs, grouped.mask, short, seed=3)
    losses = {
        restarts: [
            fit_ccs(grouped.pairs, grouped.mask, short.model_copy(update={"restarts": restarts}), seed).loss.mean()
            for seed in range(8)
        ]
        for restarts in (1, 8)
    }
    assert max(losses[8]) < sum(losses[1]) / 8
    again = fit_ccs(grouped.pairs, grouped.mask, short, seed=3)
    other = fit_ccs(grouped.pairs, grouped.mask, short, seed=4)
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)


@pytest.mark.parametrize(
    ("loss", "margin", "number", "expected", "ties"),
    [
        ([0.3, 0.1, 0.2, 0.4], [0, 0, 0, 0], 2, (1, 2), []),
        ([0.1001, 0.1, 0.3], [0, 0, 0], 2, (0, 1), []),
        ([0.0, 0.1, 0.1004, 0.1], [0, 0.2, 0.9, 0.3], 2, (0, 2), [1, 2, 3]),
        ([0.0, 0.0, 0.0], [0.1, 0.3, 0.2], 2, (1, 2), [0, 1, 2]),
    ],
)
def test_layer_choice(loss, margin, number, expected, ties):
    assert choose_layers(torch.tensor(loss), torch.tensor(margin), number) == expected
    assert tied_layers(torch.tensor(loss), number) == ties


def test_lowest_loss_layer_is_the_one_with_the_widest_gap():
    personal, neutral = planted(60, 4, 6, gap=4.0)
    found = find_directions(one_group(personal, neutral), "hybrid", QUICK, seed=0, num_layers=1)
    assert found.layers == (0,)
    assert found.personal.shape == found.neutral.shape == (1, 1, 6)
    assert cosine(found.personal[0, 0], top_direction(personal[:, 0])) == pytest.approx(1, abs=1e-5)
    assert cosine(found.neutral[0, 0], torch.eye(6)[0]) > 0.8


def test_identification_variants():
    grouped = one_group(*planted(20, 2, 6, gap=2.0))
    hybrid, svd, ccs = (
        find_directions(grouped, kind, QUICK, seed=0, num_layers=2) for kind in ("hybrid", "svd", "ccs")
    )
    assert torch.equal(hybrid.personal, svd.personal)
    assert torch.equal(hybrid.neutral, ccs.neutral)
    assert torch.equal(ccs.personal, ccs.neutral)
    assert torch.equal(svd.neutral[0], top_direction(grouped.pairs[1, 0]))


def test_the_margin_is_that_of_pairs_the_probe_has_not_seen():
    personal, neutral = planted(40, 1, 6, gap=4.0)
    neutral[1::2] = personal[1::2]  # every second pair is not apart at all
    assert held_out_margin(one_group(personal, neutral), QUICK, seed=0).item() == pytest.approx(0, abs=1e-6)
    assert held_out_margin(one_group(personal[::2], neutral[::2]), QUICK, seed=0).item() > 0.7


def test_the_neutral_direction_is_scaled_by_the_neutral_side():
    personal, neutral = planted(20, 1, 4, gap=1.0)
    grouped = one_group(personal * 3, neutral)
    config = QUICK.model_copy(update={"normalization": "separate"})
    normals = fit_ccs(grouped.pairs, grouped.mask, config, seed=0).directions()
    found = find_directions(grouped, "hybrid", config, seed=0, num_layers=1)
    assert torch.equal(found.neutral[0], normals[1, 0])
    assert not torch.allclose(normals[0], normals[1])


def test_each_group_edits_its_own_layers_only():
    first, second = planted(8, 3, 6, gap=6.0), planted(8, 3, 6, gap=6.0, seed=1)
    personal, neutral = (torch.cat([one, other.flip(1)]) for one, other in zip(first, second, strict=True))
    grouped = Grouped.of(personal, neutral, [range(8), range(8, 16)])
    config = CcsConfig(epochs=30, learning_rate=1e-2, restarts=4)  # stopped early: no ties at a loss of 0
    found = find_directions(grouped, "hybrid", config, seed=0, num_layers=1, layers_per_group=True)
    assert found.layers == (0, 2)
    assert found.edited.tolist() == [[True, False], [False, True]]
    assert found.places.tolist() == [[0], [1]]
    for bank in (found.personal, found.neutral):
        assert bank.any(dim=-1).tolist() == [[True], [True]]
    by_layer = torch.arange(24).reshape(2, 2, 6)
    assert torch.equal(found.at_chosen(by_layer), torch.stack([by_layer[0, :1], by_layer[1, 1:]]))


def test_layers_per_group_keep_groups_independent():
    personal, neutral = planted(16, 3, 6, gap=2.0)
    rows = [range(8), range(8, 16)]

    def second_group(first: torch.Tensor) -> dict[int, list[float]]:
        moved = torch.cat([first, personal[8:]])
        grouped = Grouped.of(moved, neutral, rows)
        found = find_directions(grouped, "hybrid", QUICK, seed=0, num_layers=1, layers_per_group=True)
        return dict(zip(found.chosen[1].tolist(), found.neutral[1].tolist(), strict=True))

    before, after = second_group(personal[:8]), second_group(personal[:8].flip(1) * 2)
    assert before.keys() == after.keys()
    assert len(before) == 1
    for layer, value in before.items():
        np.testing.assert_allclose(after[layer], value, rtol=1e-4)


def test_given_layers_are_taken():
    grouped = one_group(*planted(6, 4, 6, gap=1.0))
    found = find_directions(grouped, "svd", QUICK, seed=0, num_layers=2, layers=(3, 1))
    assert found.layers == (1, 3)


@pytest.fixture
def chunks(monkeypatch):
    """A clock that moves with CCS alone: so much for a chunk, for each of its problems, and for each of their pairs.

    Every second fit of one epoch is interrupted.
    """
    time, interrupted = [0.0], [False]

    def solve(pairs, mask, config, seed):
        problems, count = pairs.shape[2:4]
        time[0] += chunk_seconds(config.epochs, problems, count)
        if config.epochs == 1:
            interrupted[0] = not interrupted[0]
            time[0] += 1000.0 * interrupted[0]
        return SimpleNamespace(loss=torch.zeros(1))

    monkeypatch.setattr(directions_time, "fit_ccs", solve)
    return lambda: time[0]


def chunk_seconds(epochs, problems, count):
    return 3.0 + epochs * (0.5 + problems * (0.02 + 0.001 * count))


def test_the_time_of_the_directions_of_one_group_grows_with_its_pairs(chunks):
    seconds = seconds_by_pairs(4, 1, 6, QUICK, torch.device("cpu"), chunks)
    for pairs in (8, 64, 500):
        assert seconds(pairs, 1) == pytest.approx(1.1 * 2 * chunk_seconds(QUICK.epochs, 4, pairs))


def test_the_time_of_the_directions_of_many_groups_is_that_of_full_chunks(chunks):
    groups = together = problems_at_once(8, 128, QUICK.restarts, "cpu")
    seconds = seconds_by_pairs(4, groups, 128, QUICK, torch.device("cpu"), chunks)
    assert seconds(8 * groups, groups) == pytest.approx(1.1 * 2 * 4 * chunk_seconds(QUICK.epochs, together, 8))
    assert seconds(8, 1) == pytest.approx(1.1 * 2 * chunk_seconds(QUICK.epochs, 4, 8))
