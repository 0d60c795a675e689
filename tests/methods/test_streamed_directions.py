"""Directions of more pairs than memory holds: the same numbers in parts as in one, and never a large part."""

import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.api import Edits
from harness.conformance.toys import ToyTask, toy_users
from harness.methods.chameleon import ccs, directions, stored_pairs
from harness.methods.chameleon.ccs import CcsConfig, ccs_loss, fit_ccs
from harness.methods.chameleon.directions import Grouped, find_directions, held_out_margin, top_direction
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.preference_pairs import Pairs
from harness.methods.chameleon.steering import Steering
from harness.methods.chameleon.stored_pairs import StoredGroups, StoredPairs
from harness.model.editing import of_rows

QUICK = CcsConfig(epochs=30, learning_rate=1e-2, restarts=3)
ROWS = [[0, 5, 9], [1, 2, 3, 4], [6, 7, 8]]
LAYERS, SIZE = 4, 6


@pytest.fixture
def noise():
    """Representations [10, 4, 6], twice, apart along one coordinate."""
    personal, neutral = torch.randn(2, 10, LAYERS, SIZE, generator=torch.Generator().manual_seed(0)) + 1
    personal[..., 0] += 1.0
    return personal, neutral


@pytest.fixture
def stored(noise, tmp_path):
    """The same on disk, written in two appends."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    pairs, users = StoredPairs(folder), [f"user {number}" for number in range(10)]
    for some in (slice(0, 4), slice(4, 10)):
        pairs.append(Pairs(tuple(users[some]), noise[0][some], noise[1][some]))
    assert pairs.users == users
    return pairs


def groups_of(stored):
    return StoredGroups(stored, ROWS, torch.device("cpu"))


def test_what_is_stored_is_read_back_to_the_bit_and_in_the_order_of_the_groups(noise, stored, monkeypatch):
    whole = Grouped.of(*noise, ROWS)
    for at_once in (2**24, 2 * SIZE):
        monkeypatch.setattr(stored_pairs, "_READ_AT_ONCE", at_once)
        part = groups_of(stored).part(slice(None), range(LAYERS))
        assert torch.equal(part.pairs, whole.pairs)
        assert torch.equal(part.mask, whole.mask)
    few = groups_of(stored).part(slice(2, 3), [3, 1])
    assert torch.equal(few.pairs, whole.pairs[:, 2:3, [3, 1], :3])
    assert groups_of(stored).counts.tolist() == whole.counts.tolist()


def written(stored):
    return sum(path.stat().st_size for path in stored.folder.iterdir())


@pytest.mark.parametrize("inexact", [None, 0, 7], ids=["bfloat16", "float32 at once", "float32 later"])
def test_what_a_bfloat16_model_gives_takes_two_bytes_and_nothing_is_ever_rounded(noise, tmp_path, monkeypatch, inexact):
    monkeypatch.setattr(stored_pairs, "_READ_AT_ONCE", 2 * 2 * SIZE)
    sides = [side.bfloat16().float() for side in noise]
    if inexact is not None:
        sides[0][inexact, 1, 2] = 1 + 2**-20
    pairs = StoredPairs(tmp_path)
    for start in range(0, 10, 3):
        some = slice(start, min(start + 3, 10))
        pairs.append(Pairs(("somebody",) * (some.stop - start), sides[0][some], sides[1][some]))
    for layer in range(LAYERS):
        assert torch.equal(pairs.rows(layer, range(10)), torch.stack(sides)[:, :, layer])
    assert written(pairs) == 2 * 10 * LAYERS * SIZE * (2 if inexact is None else 4)


@pytest.mark.parametrize("own_layers", [False, True])
@pytest.mark.parametrize("choice", ["ccs_loss", "margin"])
@pytest.mark.parametrize("tie", [1e-3, 1.0])
def test_directions_found_in_parts_are_those_found_in_one(noise, stored, monkeypatch, own_layers, choice, tie):
    monkeypatch.setattr(directions, "TIE", tie)
    settings = ("hybrid", QUICK, 0, 2, None, own_layers, choice)
    whole = find_directions(Grouped.of(*noise, ROWS), *settings)
    at_most = 2 * 4 * SIZE * (LAYERS if own_layers else 1)  # of one group, whose layers are at once if it chooses
    monkeypatch.setattr(directions, "_PART", at_most)
    read, part = [], StoredGroups.part
    monkeypatch.setattr(StoredGroups, "part", lambda *given: read.append(found := part(*given)) or found)
    found = find_directions(groups_of(stored), *settings)
    assert max(len(one.pairs.flatten()) for one in read) <= 2 * at_most
    assert found.layers == whole.layers
    assert torch.equal(found.edited, whole.edited)
    assert found.layer_ties == whole.layer_ties
    for name in ("loss", "personal", "neutral"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-4, atol=1e-4)


def test_a_single_group_larger_than_a_part_is_read_a_layer_at_a_time(noise, stored, monkeypatch):
    everybody = [list(range(10))]
    whole = find_directions(Grouped.of(*noise, everybody), "hybrid", QUICK, 0, 2)
    monkeypatch.setattr(directions, "_PART", 1)
    read, part = [], StoredGroups.part
    monkeypatch.setattr(StoredGroups, "part", lambda *given: read.append(list(given[2])) or part(*given))
    found = find_directions(StoredGroups(stored, everybody, torch.device("cpu")), "hybrid", QUICK, 0, 2)
    assert max(map(len, read)) == 1
    assert found.layers == whole.layers
    torch.testing.assert_close(found.neutral, whole.neutral, rtol=1e-4, atol=1e-4)


def test_a_group_larger_than_a_chunk_is_solved_in_blocks_with_the_same_result(noise, monkeypatch):
    grouped = Grouped.of(*noise, ROWS)
    probe, margin = fit_ccs(grouped.pairs, grouped.mask, QUICK, 0), held_out_margin(grouped, QUICK, 0)
    monkeypatch.setattr(ccs, "_FEWEST_ROWS", 1)
    for at_once in (1, 2 * 3 * SIZE, 500):
        monkeypatch.setattr(ccs, "_AT_ONCE", {"cpu": at_once})
        blocks = fit_ccs(grouped.pairs, grouped.mask, QUICK, 0)
        torch.testing.assert_close(blocks.directions(), probe.directions(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(blocks.loss, probe.loss, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(held_out_margin(grouped, QUICK, 0), margin, rtol=1e-3, atol=1e-5)


def test_gradients_by_hand_are_those_of_autograd(noise):
    """One restart, one group, one layer at a time, with the loss as A.4 has it and torch's plain AdamW."""
    grouped = Grouped.of(*noise, ROWS)
    config = CcsConfig(epochs=25, learning_rate=1e-2, restarts=1, normalization="none")
    probe = fit_ccs(grouped.pairs, grouped.mask, config, seed=4)
    for group, rows in enumerate(ROWS):
        for layer in range(LAYERS):
            weight = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(4)) / SIZE**0.5
            weight, bias = weight[0].clone().requires_grad_(), torch.zeros((), requires_grad=True)
            optimizer = torch.optim.AdamW([weight, bias], lr=1e-2, weight_decay=config.weight_decay, fused=False)
            for _ in range(config.epochs):
                sides = (torch.sigmoid(side[rows, layer] @ weight + bias) for side in noise)
                optimizer.zero_grad()
                ccs_loss(*sides, torch.ones(len(rows), dtype=torch.bool)).backward()
                optimizer.step()
            torch.testing.assert_close(probe.weight[group, layer], weight.detach(), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(probe.bias[group, layer], bias.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 5), (5, 40), (3, 2, 7, 6)])
@pytest.mark.parametrize("wide", [2, 512])
def test_the_top_direction_by_gram_matrix_and_by_lanczos_iteration_is_that_of_numpys_svd(shape, wide, monkeypatch):
    monkeypatch.setattr(directions, "_WIDE", wide)
    monkeypatch.setattr(directions, "_BLOCK", 3 * shape[-1])
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(2)) + 0.5
    expected = torch.from_numpy(np.linalg.svd(matrices.double().numpy(), full_matrices=False)[2][..., 0, :]).float()
    found = top_direction(matrices)
    torch.testing.assert_close((found * expected).sum(dim=-1).abs(), torch.ones(shape[:-2]), rtol=0, atol=1e-5)
    assert not top_direction(torch.zeros(shape)).any()


def mapped(name):
    """Where this process has a file of that name mapped."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(f"/{name}")]
    return [tuple(int(end, 16) for end in line[0].split("-")) for line in lines]


def test_banks_of_groups_with_layers_of_their_own_hold_these_alone_and_stay_on_disk(tmp_path):
    personal, neutral = torch.randn(2, 5, 2, SIZE, generator=torch.Generator().manual_seed(1))
    places = torch.tensor([[0, 1], [0, 2], [1, 2], [0, 1], [0, 2]])
    banks = Edits((3, 5, 8), (), personal, neutral, strength=torch.rand(5, 2), places=places)
    Steering(ToyTask(), banks, {"user": 3}).save(tmp_path)
    saved = load_file(tmp_path / "steering.safetensors")
    assert saved.keys() == {"personal", "neutral", "strength", "places"}
    for name, bank in saved.items():
        assert torch.equal(bank, getattr(banks, name))
    loaded = Steering.load(tmp_path, ToyTask()).banks
    if sys.platform == "linux":
        assert any(starts <= loaded.personal.data_ptr() < ends for starts, ends in mapped("steering.safetensors"))
    assert loaded.layers == (3, 5, 8)
    own = of_rows(loaded, [1, 3])
    assert (own.rows, own.places) == ((0, 1), None)
    for name in ("personal", "neutral", "strength"):
        assert torch.equal(getattr(own, name)[0, [0, 2]], getattr(banks, name)[1])
        assert torch.equal(getattr(own, name)[1, [0, 1]], getattr(banks, name)[3])
        assert not getattr(own, name)[[0, 1], [1, 2]].any()


def test_a_fit_leaves_its_pairs_in_the_scratch_folder_and_nothing_else(make_context):
    context = make_context(users=toy_users(4, examples=4))
    fitted = Chameleon(ChameleonConfig(ccs=QUICK, group_size=1, min_pairs=1, num_layers=1)).fit(context)
    files = [path for path in context.scratch.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".float32"}
    pairs = context.report.samples_used
    assert {path.stat().st_size for path in files} == {4 * prod((pairs, 2, context.lm.hidden_size))}
    assert fitted.banks.personal.shape[1] == 1
