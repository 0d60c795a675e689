"""What Chameleon says of its own directions: normalization, constant dimensions, choice of layers, and chance."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from harness.conformance.toys import toy_users
from harness.methods.chameleon.ccs import CcsConfig, Probe, fit_ccs
from harness.methods.chameleon.diagnosis import diagnose, lowest_by_chance, margins, paired_at_random, swapped
from harness.methods.chameleon.directions import Directions, Grouped, find_directions, halves
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.controls.other_directions import MeanDifference, MeanDifferenceConfig

QUICK = CcsConfig(epochs=80, learning_rate=4e-2, restarts=4)


def planted(pairs: int, layers: int, size: int, gap: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise around 3, P and N apart by 2 * `gap` along coordinate 0 of layer 0 alone."""
    personal, neutral = torch.randn(2, pairs, layers, size, generator=torch.Generator().manual_seed(seed)) + 3.0
    personal[:, 0, 0] += gap
    neutral[:, 0, 0] -= gap
    return personal, neutral


def one_group(personal: torch.Tensor, neutral: torch.Tensor) -> Grouped:
    return Grouped.of(personal, neutral, [range(len(personal))])


def evidence(grouped: Grouped, num_layers: int = 1, choice: str | None = "ccs_loss", config: CcsConfig = QUICK, **more):
    """(directions, their diagnosis) as `Chameleon.fit` asks for them."""
    found = find_directions(grouped, "hybrid", config, 0, num_layers, layer_choice=choice or "ccs_loss", **more)
    edited = Grouped(grouped.pairs[:, :, list(found.layers)], grouped.mask)
    return found, diagnose(edited, found, "hybrid", config, 0, choice)


# ------------------------------------------------------------------------------------------------------ normalization


def moments(personal: np.ndarray, neutral: np.ndarray, normalization: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of both sides [2, d], in plain NumPy."""
    if normalization == "none":
        return np.zeros((2, personal.shape[1])), np.ones((2, personal.shape[1]))
    if normalization == "separate":
        return np.stack([personal.mean(0), neutral.mean(0)]), np.stack([personal.std(0), neutral.std(0)])
    both = np.concatenate([personal, neutral])
    return np.stack([both.mean(0)] * 2), np.stack([both.std(0)] * 2)


@pytest.mark.parametrize("normalization", ["none", "joint", "separate"])
def test_loss_and_direction_are_those_of_numpy_under_each_normalization(normalization):
    personal, neutral = planted(20, 1, 5, gap=1.0)
    personal, neutral = 3 * personal, neutral * torch.tensor([1.0, 0.01, 100.0, 1.0, 1.0])
    grouped = one_group(personal, neutral)
    probe = fit_ccs(grouped.pairs, grouped.mask, QUICK.model_copy(update={"normalization": normalization}), seed=0)
    mean, scale = moments(personal[:, 0].double().numpy(), neutral[:, 0].double().numpy(), normalization)
    weight, bias = probe.weight[0, 0].double().numpy(), probe.bias.item()
    np.testing.assert_allclose(probe.directions()[:, 0, 0].numpy(), weight / scale, rtol=1e-4)
    sides = (personal[:, 0].numpy() - mean[0]) / scale[0], (neutral[:, 0].numpy() - mean[1]) / scale[1]
    gp, gn = (1 / (1 + np.exp(-(side @ weight + bias))) for side in sides)
    assert probe.loss.item() == pytest.approx(np.mean((gn - (1 - gp)) ** 2 + np.minimum(gn, gp)), rel=1e-3, abs=1e-6)


def test_without_normalization_the_probe_is_theta_x_plus_b():
    grouped = one_group(*planted(20, 1, 5, gap=1.0))
    probe = fit_ccs(grouped.pairs, grouped.mask, QUICK.model_copy(update={"normalization": "none"}), seed=0)
    assert torch.equal(probe.directions()[0], probe.weight)
    personal, neutral = torch.sigmoid(grouped.pairs[:, 0, 0] @ probe.weight[0, 0] + probe.bias)
    torch.testing.assert_close(probe.gaps(grouped.pairs)[0, 0], personal - neutral)


@pytest.mark.parametrize("normalization", ["none", "joint", "separate"])
@pytest.mark.parametrize(("level", "noise"), [(0.0, 0.0), (7.0, 0.0), (7.0, 1e-6), (0.0, 1e-8), (5e4, 4e-3)])
def test_a_dimension_that_never_varies_has_no_weight_in_the_direction(normalization, level, noise):
    personal, neutral = planted(30, 1, 6, gap=3.0)
    config = QUICK.model_copy(update={"normalization": normalization, "epochs": 20})
    for number, side in enumerate((personal, neutral)):
        side[..., 5] = level + noise * torch.randn(30, 1, generator=torch.Generator().manual_seed(number))
    found = find_directions(one_group(personal, neutral), "hybrid", config, seed=0, num_layers=1)
    assert (found.neutral[0, 0] == 0).tolist() == [False] * 5 + [True]


def test_a_dimension_that_never_varies_leaves_the_direction_to_those_that_do():
    personal, neutral = planted(30, 1, 6, gap=3.0)
    for number, side in enumerate((personal, neutral)):
        side[..., 5] = 7.0 + 1e-6 * torch.randn(30, 1, generator=torch.Generator().manual_seed(number))
    found = find_directions(one_group(personal, neutral), "hybrid", QUICK, seed=0, num_layers=1)
    assert torch.cosine_similarity(found.neutral[0, 0], torch.eye(6)[0], dim=0).abs() > 0.8


def test_a_dimension_of_another_order_of_magnitude_is_not_taken_for_a_constant():
    personal, neutral = planted(30, 1, 6, gap=1.0)
    scale = torch.tensor([1e-3, 1.0, 10.0, 1.0, 0.1, 1.0])
    found = find_directions(one_group(personal * scale, neutral * scale), "hybrid", QUICK, seed=0, num_layers=1)
    assert found.neutral[0, 0].all()


@pytest.mark.parametrize("normalization", ["none", "joint", "separate"])
def test_representations_that_never_vary_have_no_direction(normalization):
    constant = torch.full((8, 3, 5), 2.0)
    config = QUICK.model_copy(update={"normalization": normalization})
    found, diagnosis = evidence(one_group(constant, constant), config=config)
    assert not found.neutral.any()
    assert diagnosis.values["theta_cosine"] == diagnosis.values["theta_n_agreement"] == diagnosis.values["margin"] == 0
    assert diagnosis.values["ccs_loss"] == pytest.approx(7 / 16, abs=0.01)  # the least that a bias alone can reach
    assert all(isinstance(value, str) or np.isfinite(value) for value in diagnosis.values.values())


# ----------------------------------------------------------------------------------------------------- choice of layers


def test_layers_chosen_by_margin_are_those_that_separate_pairs_held_out():
    personal, neutral = planted(40, 3, 64, gap=4.0)  # fewer pairs than dimensions: every layer's loss is near 0
    grouped = one_group(personal.flip(1), neutral.flip(1))
    found = find_directions(grouped, "hybrid", QUICK, seed=0, num_layers=1, layer_choice="margin")
    assert found.layers == (2,)
    assert found.layer_ties == 0


def test_margins_that_are_equal_go_to_the_lower_loss():
    personal, neutral = planted(24, 2, 4, gap=8.0)
    grouped = one_group(personal[:, [0, 0]], neutral[:, [0, 0]])
    found = find_directions(grouped, "hybrid", QUICK, seed=0, num_layers=1, layer_choice="margin")
    assert (found.layers, found.layer_ties) == ((0,), 2)


# -------------------------------------------------------------------------------------------------------------- chance


def test_swapping_personal_and_neutral_leaves_each_pair_as_it_is():
    grouped = Grouped.of(*planted(9, 2, 4, gap=1.0), [range(3), range(3, 9)])
    drawn = swapped(grouped, torch.Generator().manual_seed(0))
    same, other = ((drawn == pairs).all(dim=-1).all(dim=0) for pairs in (grouped.pairs, grouped.pairs.flip(0)))
    assert (same | other).all()
    assert (same & grouped.mask[:, None]).any()
    assert (other & grouped.mask[:, None]).any()
    assert torch.equal(same[:, 0], same[:, 1])


def test_pairing_at_random_keeps_each_groups_representations_and_their_layers_together():
    grouped = Grouped.of(*planted(9, 2, 4, gap=1.0), [range(3), range(3, 9)])
    drawn = paired_at_random(grouped, torch.Generator().manual_seed(0))
    assert not torch.equal(drawn, grouped.pairs)
    for group, pairs in enumerate((3, 6)):
        before, after = (x[:, group, :, :pairs].movedim(1, 2).reshape(2 * pairs, 8) for x in (grouped.pairs, drawn))
        assert sorted(before.tolist()) == sorted(after.tolist())
        assert not drawn[:, group, :, pairs:].any()


@pytest.mark.parametrize(("normalization", "alike"), [("joint", True), ("none", True), ("separate", False)])
def test_ccs_cannot_tell_swapped_pairs_unless_each_side_is_normalized(normalization, alike):
    config = QUICK.model_copy(update={"normalization": normalization})
    _, diagnosis = evidence(one_group(*planted(80, 1, 4, gap=1.5)), choice=None, config=config)
    values = diagnosis.values
    assert (values["ccs_loss_swapped"] == pytest.approx(values["ccs_loss"], rel=0.02)) == alike


def every_swap(probe: Probe, grouped: Grouped, edited: np.ndarray) -> np.ndarray:
    """The margin under each way to swap masked pairs, in plain NumPy; the first swaps none."""
    weight, bias, mean, scale, pairs = (
        x.double().numpy() for x in (probe.weight, probe.bias, probe.mean, probe.scale, grouped.pairs)
    )
    places = [tuple(place) for place in np.argwhere(grouped.mask.numpy())]
    found = []
    for swaps in product([0, 1], repeat=len(places)):
        sums = np.zeros(edited.shape)
        for (group, pair), swap in zip(places, swaps, strict=True):
            sides = np.roll(pairs[:, group, :, pair], swap, axis=0)  # [2, L, d]
            logits = ((sides - mean[:, group]) / scale[:, group] * weight[group]).sum(-1) + bias[group]
            sums[group] += np.subtract(*1 / (1 + np.exp(-logits)))
        found.append(np.abs(sums / grouped.mask.numpy().sum(1)[:, None])[edited].mean())
    return np.array(found)


@pytest.mark.parametrize("normalization", ["joint", "separate"])
def test_the_margin_among_swapped_ones_is_what_an_enumeration_of_all_swaps_gives(normalization):
    grouped = Grouped.of(*planted(13, 2, 4, gap=0.5), [range(3), range(3, 13)])
    held_out, seen = halves(grouped.mask)
    probe = fit_ccs(grouped.pairs, seen, QUICK.model_copy(update={"normalization": normalization}), seed=0)
    edited = torch.tensor([[True, False], [True, True]])
    found = margins(probe, Grouped(grouped.pairs, held_out), edited, torch.Generator().manual_seed(0))
    expected = every_swap(probe, Grouped(grouped.pairs, held_out), edited.numpy())
    assert len(expected) == 2**7
    share = float(np.mean(expected >= expected[0] - 1e-6))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1] == pytest.approx(expected.mean(), abs=3 * expected.std() / 999**0.5)
    assert found[2] == pytest.approx((1 + 999 * share) / 1000, abs=3 * (share * (1 - share) / 999) ** 0.5)
    assert 0.02 < share < 0.98


def test_a_planted_signal_is_seen_and_noise_is_not():
    _, signal = evidence(one_group(*planted(200, 3, 6, gap=3.0)))
    assert signal.values["layers"] == "0"
    assert signal.values["layers_tied"] == "0 of 3"
    assert signal.values["ccs_loss"] < 0.1 < 0.2 < signal.values["ccs_loss_random_pairs"]
    assert signal.values["margin"] > 0.8 > 0.2 > signal.values["margin_swapped"]
    assert signal.values["margin_p"] == 0.001
    assert signal.values["theta_n_agreement"] > 0.95
    assert signal.caution == ""
    _, noise = evidence(one_group(*planted(200, 3, 6, gap=0.0)))
    assert noise.values["margin_p"] > 0.05
    assert "paired at random reach as low a loss" in noise.caution


@pytest.mark.parametrize("gap", [3.0, 0.0])
def test_with_fewer_pairs_than_dimensions_the_choice_by_loss_is_chance_whatever_the_signal(gap):
    _, diagnosis = evidence(one_group(*planted(12, 3, 96, gap=gap)))
    assert diagnosis.values["layers_tied"] == "3 of 3"
    assert diagnosis.values["ccs_loss"] < 2e-3
    assert diagnosis.caution.startswith("the choice of layers by CCS loss is no better than chance, as ")
    assert "the same representations paired at random reach as low a loss" in diagnosis.caution
    assert diagnosis.caution.endswith("all layers tie")


def test_a_low_loss_that_does_not_tell_personal_from_neutral_is_chance():
    personal, neutral = planted(200, 3, 6, gap=3.0)
    coins = torch.arange(200) // 2 % 2 == 0  # half of the pairs the other way round
    mixed = [torch.where(coins[:, None, None], one, other) for one, other in ((personal, neutral), (neutral, personal))]
    _, diagnosis = evidence(one_group(*mixed))
    assert diagnosis.values["ccs_loss"] < 0.1
    assert diagnosis.values["layers_tied"] == "0 of 3"
    assert diagnosis.values["margin_p"] > 0.05
    assert diagnosis.caution.endswith(
        "as pairs held out are told apart no better than with personal and neutral swapped"
    )


def test_losses_of_another_order_of_magnitude_are_not_by_chance():
    draws = [0.045, 0.06, 0.07, 0.085, 0.069]
    assert 0.0048 < lowest_by_chance(draws, 4) < 0.03
    assert lowest_by_chance(draws, 30) < lowest_by_chance(draws, 4) < lowest_by_chance(draws, 1) < min(draws)


def test_a_choice_by_margin_is_chance_where_swapped_pairs_have_as_large_a_margin():
    _, noise = evidence(one_group(*planted(30, 3, 6, gap=0.0)), choice="margin")
    assert noise.caution == (
        "the choice of layers by held-out margin is no better than chance, as pairs held out are told apart no better "
        "than with personal and neutral swapped"
    )
    _, signal = evidence(one_group(*planted(30, 3, 6, gap=3.0)), choice="margin")
    assert signal.caution == ""


@pytest.mark.parametrize(("layers", "num_layers"), [((0, 2), 1), (None, 3)])
def test_where_no_layer_is_chosen_nothing_is_said_of_the_choice(layers, num_layers):
    _, diagnosis = evidence(one_group(*planted(6, 3, 24, gap=0.0)), num_layers, choice=None, layers=layers)
    assert diagnosis.caution == ""
    assert diagnosis.values["layers_tied"] == "not chosen"


def test_groups_are_averaged_over_what_they_edit():
    personal, neutral = planted(24, 3, 4, gap=4.0)
    personal[12:], neutral[12:] = personal[12:].flip(1), neutral[12:].flip(1)
    grouped = Grouped.of(personal, neutral, [range(12), range(12, 24)])
    found, diagnosis = evidence(grouped, layers_per_group=True)
    values = diagnosis.values
    assert (found.layers, found.edited.tolist()) == ((0, 2), [[True, False], [False, True]])
    assert values["layers"] == "0 (1 group), 2 (1 group)"
    assert (values["groups"], values["pairs"], values["dimensions"]) == (2, 12, 4)
    assert values["ccs_loss"] == pytest.approx((found.loss[0, 0] + found.loss[1, 2]).item() / 2)


def test_many_problems_at_once_equal_one_after_the_other():
    grouped = one_group(*planted(10, 2, 6, gap=1.0))
    found = find_directions(grouped, "hybrid", QUICK, 0, 2)
    alone = diagnose(grouped, found, "hybrid", QUICK, 0, None).values
    wide = replace(found, loss=found.loss.repeat(1, 7))
    together = diagnose(grouped, wide, "hybrid", QUICK, 0, "ccs_loss").values  # as if chosen from 14 layers
    assert together.keys() == alone.keys()
    for name in set(alone) - {"layers", "layers_tied"}:
        assert together[name] == pytest.approx(alone[name], rel=0.02, abs=1e-3), name


# -------------------------------------------------------------------------------------------------- on a real fit


def test_a_fit_offers_its_diagnosis_and_does_not_compute_it(make_context):
    context = make_context()
    fitted = Chameleon(ChameleonConfig(ccs={"epochs": 20, "restarts": 2}, insight_tokens=8, num_layers=1)).fit(context)
    personal, neutral = fitted.banks.personal.clone(), fitted.banks.neutral.clone()
    tokens, elapsed = context.lm.tokens_in, context.clock.phases
    values = context.report.diagnose().values
    assert values["layers"] == str(fitted.banks.layers[0])
    assert values["pairs"] == context.report.samples_used
    assert values["dimensions"] == context.lm.hidden_size
    assert context.report.counts["direction_cosine"] == pytest.approx(values["theta_cosine"])
    assert context.lm.tokens_in == tokens
    assert context.clock.phases.keys() == elapsed.keys()
    assert torch.equal(fitted.banks.personal, personal)
    assert torch.equal(fitted.banks.neutral, neutral)


def test_a_fit_without_pairs_has_nothing_to_diagnose(make_context):
    context = make_context(users=[])
    Chameleon(ChameleonConfig()).fit(context)
    assert context.report.diagnose is None


def test_mean_difference_edits_what_was_chosen_though_no_hyperplane_was_found(make_context, monkeypatch):
    monkeypatch.setattr(
        "harness.methods.chameleon.method.find_directions",
        lambda grouped, *rest, **more: Directions(
            torch.tensor([[1]]), torch.ones(1, 1, 32), torch.zeros(1, 1, 32), torch.ones(1, 3), 0
        ),
    )
    users = toy_users(4, examples=4)
    config = MeanDifferenceConfig(ccs={"epochs": 2, "restarts": 1}, insight_tokens=8)
    fitted = MeanDifference(config).fit(make_context(users=users))
    assert fitted.banks.offset.any()
