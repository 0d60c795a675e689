"""The edits of Section 3.2, against a plain NumPy reading of the two equations, on every architecture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.api import EditPositions, Edits
from harness.model.architectures import mlp_modules
from harness.model.editing import edited, recorded, unit
from harness.model.forward import _AfterEachToken
from harness.model.lm import HuggingFaceModel, load
from tests.tiny_models import tiny_model

PROMPTS = ["Which tag? Your answer:", "A lonely detective follows a trail. Your answer:", "x Your answer:"]
WIDTH = 32


def make_edits(rows: tuple[int, ...] = (1, -1, 0), layers: tuple[int, ...] = (0, 2)) -> Edits:
    random = torch.Generator().manual_seed(1)
    shape = (2, len(layers), WIDTH)
    banks = [torch.randn(shape, generator=random) * size for size in (5.0, 0.01, 1.0)]
    return Edits(layers, rows, *banks, strength=torch.tensor([[1.0, 0.5], [2.0, 1.0]])[:, : len(layers)])


def banks_of(edits: Edits) -> list[Tensor]:
    banks = (edits.personal, edits.neutral, edits.offset, edits.strength)
    return [bank for bank in banks if bank is not None]


def by_the_paper(x: NDArray, personal: NDArray, neutral: NDArray, offset: NDArray, strength: float) -> NDArray:
    """The equations for one vector x, one after the other."""
    x = x + strength * np.dot(x, personal) / np.dot(personal, personal) * personal
    x = x - strength * np.dot(x, neutral) / np.dot(neutral, neutral) * neutral
    return x + offset


def forward(lm: HuggingFaceModel, prompts: list[str]) -> Tensor:
    """Logits at the last position, without `harness.model.forward`, [B, V]."""
    tokens = lm.tokenizer(prompts, return_tensors="pt", padding=True)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    if lm.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([[0, 7, 9]] * len(prompts))
    else:
        inputs["position_ids"] = (tokens.attention_mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        return lm.model(**inputs).logits[:, -1]


def hooks_left(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_edited_mlp_output_is_what_the_equations_give(any_lm: HuggingFaceModel) -> None:
    edits = make_edits()
    before: dict[int, Tensor] = {}
    after: dict[int, Tensor] = {}
    mlps = mlp_modules(any_lm.model)
    for layer in edits.layers:
        mlps[layer].register_forward_hook(lambda m, a, out, layer=layer: before.update({layer: out.clone()}))
    with edited(mlps, edits):
        for layer in edits.layers:
            mlps[layer].register_forward_hook(lambda m, a, out, layer=layer: after.update({layer: out}))
        forward(any_lm, PROMPTS)
    for position, layer in enumerate(edits.layers):
        for prompt, row in enumerate(edits.rows):
            raw, found = before[layer][prompt].double().numpy(), after[layer][prompt].double().numpy()
            if row == -1:
                assert (raw == found).all()
                continue
            banks = [bank[row, position].double().numpy() for bank in (edits.personal, edits.neutral, edits.offset)]
            expected = [by_the_paper(x, *banks, float(edits.strength[row, position])) for x in raw]
            np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4, atol=1e-4)


def test_unedited_rows_and_zero_directions_change_no_bit(any_lm: HuggingFaceModel) -> None:
    plain = forward(any_lm, PROMPTS)
    zero = torch.zeros(1, 1, WIDTH)
    for edits in (make_edits((-1, -1, -1)), Edits((1,), (0, 0, 0), personal=zero, neutral=zero)):
        with edited(mlp_modules(any_lm.model), edits):
            assert torch.equal(forward(any_lm, PROMPTS), plain)


def test_banks_of_each_users_own_layers_edit_these_and_no_others(any_lm: HuggingFaceModel) -> None:
    places = torch.tensor([[0, 2], [1, 2]])
    own = make_edits()
    personal, neutral, offset, strength = (torch.zeros(2, 3, *bank.shape[2:]) for bank in banks_of(own))
    for row, chosen in enumerate(places.tolist()):
        for whole, bank in zip((personal, neutral, offset, strength), banks_of(own), strict=True):
            whole[row, chosen] = bank[row]
    dense = Edits((0, 1, 2), own.rows, personal, neutral, offset, strength)
    sparse = replace(own, layers=(0, 1, 2), places=places)
    mlps, logits = mlp_modules(any_lm.model), []
    for edits in (dense, sparse):
        with edited(mlps, edits):
            logits.append(forward(any_lm, PROMPTS))
    assert torch.equal(*logits)
    assert not torch.equal(logits[0], forward(any_lm, PROMPTS))


@pytest.mark.parametrize("places", [[[0, 3], [0, 1]], [[0, 1], [-1, 0]]])
def test_places_that_are_no_layers_are_refused(llama: HuggingFaceModel, places: list[list[int]]) -> None:
    edits = replace(make_edits(), layers=(0, 1, 2), places=torch.tensor(places))
    with pytest.raises(ValueError, match="3 layers"), edited(mlp_modules(llama.model), edits):
        pass


def test_every_edited_row_changes(any_lm: HuggingFaceModel) -> None:
    plain = forward(any_lm, PROMPTS)
    with edited(mlp_modules(any_lm.model), make_edits()):
        changed = (forward(any_lm, PROMPTS) - plain).abs().amax(-1) > 1e-3
    assert changed.tolist() == [True, False, True]


def test_a_mixed_batch_gives_each_user_what_they_get_alone(any_lm: HuggingFaceModel) -> None:
    edits = make_edits()
    alone = [make_edits((row,)) for row in edits.rows]
    together = any_lm.generate(PROMPTS, 8, edits)
    assert together == [any_lm.generate([p], 8, e)[0] for p, e in zip(PROMPTS, alone, strict=True)]
    likelihoods = any_lm.log_likelihood(PROMPTS, ["comedy", "", "a thriller"], edits)
    expected = [
        any_lm.log_likelihood([p], [o], e)[0]
        for p, o, e in zip(PROMPTS, ["comedy", "", "a thriller"], alone, strict=True)
    ]
    torch.testing.assert_close(likelihoods, torch.stack(expected), rtol=1e-4, atol=1e-3)
    with edited(mlp_modules(any_lm.model), edits):
        logits = forward(any_lm, PROMPTS)
    for index, edit in enumerate(alone):
        with edited(mlp_modules(any_lm.model), edit):
            torch.testing.assert_close(logits[index], forward(any_lm, [PROMPTS[index]])[0], rtol=1e-4, atol=1e-3)


def test_rows_follow_their_prompts_through_length_buckets(llama: HuggingFaceModel) -> None:
    prompts = [f"{'very ' * (7 * i % 5)}long Your answer:" for i in range(9)]
    edits = make_edits(tuple(i % 3 - 1 for i in range(9)))
    llama.limits.rows = 2
    found = llama.generate(prompts, 6, edits)
    assert found == [llama.generate([p], 6, make_edits((r,)))[0] for p, r in zip(prompts, edits.rows, strict=True)]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_edited_decoding_does_not_depend_on_the_cache(kind: str, model_folder: Callable[[str], Path]) -> None:
    lm = load(str(model_folder(kind)))
    tokens = lm.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask, "max_new_tokens": 8}
    with edited(mlp_modules(lm.model), make_edits()):
        cached, recomputed = (lm.model.generate(**inputs, use_cache=use) for use in (True, False))
    assert torch.equal(cached, recomputed)


@pytest.mark.parametrize("positions", ["all", "answer", "generated"])
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_beam_search_keeps_the_rows_of_its_prompts(
    kind: str, positions: EditPositions, model_folder: Callable[[str], Path]
) -> None:
    lm = load(str(model_folder(kind)))

    def beams(prompts: list[str], edits: Edits) -> list[str]:
        tokens = lm.tokenizer(prompts, return_tensors="pt", padding=True)
        start = 1 if lm.is_encoder_decoder else tokens.input_ids.shape[1]
        with edited(mlp_modules(lm.model), edits) as rows:
            rows.follow([0] * len(prompts))
            found = lm.model.generate(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                num_beams=3,
                max_new_tokens=6,
                stopping_criteria=[_AfterEachToken(rows, start)],
            )
        return lm.tokenizer.batch_decode(found[:, start:], skip_special_tokens=True)

    edits = replace(make_edits(), positions=positions)
    together = beams(PROMPTS, edits)
    assert together == [beams([p], replace(edits, rows=(row,)))[0] for p, row in zip(PROMPTS, edits.rows, strict=True)]
    assert together[0] != beams([PROMPTS[0]], replace(edits, rows=(0,)))[0]


def test_a_batch_that_does_not_hold_the_prompts_is_refused(llama: HuggingFaceModel) -> None:
    with edited(mlp_modules(llama.model), make_edits()), pytest.raises(ValueError, match=r"2 rows .* 3 prompts"):
        forward(llama, PROMPTS[:2])


def test_an_exception_leaves_no_hook(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: object) -> None:
        assert hooks_left(llama.model) == 2
        raise RuntimeError("on the way")

    monkeypatch.setattr(llama.model, "forward", fail)
    with pytest.raises(RuntimeError, match="on the way"):
        llama.generate(PROMPTS, 4, make_edits())
    monkeypatch.undo()
    with pytest.raises(IndexError), recorded(mlp_modules(llama.model), torch.tensor([99])):
        forward(llama, PROMPTS[:1])
    assert hooks_left(llama.model) == 0


@pytest.mark.parametrize(
    "edits",
    [
        Edits((0, 9), (0,), personal=torch.ones(1, 2, WIDTH)),
        Edits((0,), (0,), personal=torch.ones(1, 2, WIDTH)),
        Edits((0,), (1,), neutral=torch.ones(1, 1, WIDTH)),
        Edits((0,), (0,), offset=torch.ones(1, 1, WIDTH), strength=torch.ones(1)),
    ],
    ids=["layer", "layers of a bank", "row", "strength"],
)
def test_edits_that_do_not_fit_are_refused_and_leave_no_hook(edits: Edits, llama: HuggingFaceModel) -> None:
    with pytest.raises(ValueError, match=r"layers|rows|shape"):
        llama.generate(PROMPTS[:1], 4, edits)
    assert hooks_left(llama.model) == 0


@pytest.mark.parametrize("name", ["personal", "neutral", "offset"])
def test_directions_of_another_model_are_refused_with_both_widths(name: str, llama: HuggingFaceModel) -> None:
    """An offset of width 1 would even fit by broadcasting."""
    for width in (1, 48):
        edits = Edits((0, 2), (0, -1, 1), **{name: torch.ones(2, 2, width)})
        with pytest.raises(ValueError, match=f"directions have width {width}, but .* of width {WIDTH}"):
            llama.generate(PROMPTS, 4, edits)
    mixed = Edits((0,), (0,) * 3, personal=torch.ones(1, 1, WIDTH), neutral=torch.ones(1, 1, 48))
    with pytest.raises(ValueError, match=r"different widths: \{'personal': 32, 'neutral': 48\}"):
        llama.generate(PROMPTS, 4, mixed)


def test_edits_for_another_number_of_prompts_are_refused(llama: HuggingFaceModel) -> None:
    with pytest.raises(ValueError, match="edits are for 3 prompts, but there are 2"):
        llama.generate(PROMPTS[:2], 4, make_edits())


def test_half_precision_is_edited_in_float32() -> None:
    mlp = tiny_model("llama", 50).to(torch.bfloat16).model.layers[0].mlp
    edits = make_edits((0,), (0,))
    x = torch.randn(1, 4, WIDTH, dtype=torch.bfloat16)
    raw = mlp(x).detach()
    with edited([mlp], edits):
        found = mlp(x).detach()
    banks = [bank[0, 0].double().numpy() for bank in (edits.personal, edits.neutral, edits.offset)]
    exact = np.stack([by_the_paper(row, *banks, 1.0) for row in raw[0].double().numpy()])
    assert found.dtype == torch.bfloat16
    # One rounding to bfloat16 at the very end, at most half a unit in the last of its 8 bits.
    np.testing.assert_allclose(found[0].double().numpy(), exact, rtol=2**-8, atol=1e-6)


def test_an_adapter_in_the_model_is_edited_too(llama: HuggingFaceModel) -> None:
    from peft import LoraConfig, get_peft_model

    bare = mlp_modules(llama.model)
    plain = llama.generate(PROMPTS, 6)
    likelihood = llama.log_likelihood(PROMPTS, plain)
    states = llama.represent(PROMPTS, plain, "last")
    llama.model = get_peft_model(llama.model, LoraConfig(r=2, target_modules=["down_proj"], task_type="CAUSAL_LM"))
    assert mlp_modules(llama.model) == bare
    assert llama.generate(PROMPTS, 6) == plain  # a new adapter adds nothing
    torch.testing.assert_close(llama.represent(PROMPTS, plain, "last"), states)
    assert not torch.allclose(llama.log_likelihood(PROMPTS, plain, make_edits()), likelihood)


vectors = st.integers(0, 2**31).map(lambda seed: torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(seed)))
scales = st.floats(-150, 120).map(lambda exponent: torch.tensor(2.0) ** (exponent / 2))


def through(mlp_output: Tensor, **banks: Tensor) -> Tensor:
    """What the hook makes of an MLP output [3, 2, 16], a direction [3, 2, 16] for each row and position of it."""
    mlp = nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        mlp.weight.copy_(torch.eye(16))
    edits = Edits((0,), tuple(range(6)), **{name: bank.reshape(6, 1, 16) for name, bank in banks.items()})
    with torch.no_grad(), edited([mlp], edits):
        return mlp(mlp_output.reshape(6, 1, 16)).reshape(3, 2, 16)


def along(x: Tensor, directions: Tensor) -> Tensor:
    """<x, theta>, theta at norm 1."""
    exact = directions.double()
    return ((x.double() * exact).sum(-1) / exact.norm(dim=-1)).float()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@given(x=vectors, theta=vectors)
def test_a_removed_direction_is_gone_and_removing_it_again_changes_nothing(x: Tensor, theta: Tensor) -> None:
    removed = through(x, neutral=theta)
    close(along(removed, theta), torch.zeros(3, 2))
    close(through(removed, neutral=theta), removed)
    close(x - removed, along(x, theta)[..., None] * unit(theta))


@given(x=vectors, theta=vectors)
def test_a_strengthened_direction_counts_twice_and_what_is_across_it_stays(x: Tensor, theta: Tensor) -> None:
    strengthened = through(x, personal=theta)
    close(along(strengthened, theta), 2 * along(x, theta))
    close(through(strengthened, neutral=theta), through(x, neutral=theta))


@given(x=vectors, personal=vectors, neutral=vectors, scale=scales)
def test_the_norm_of_a_direction_does_not_count(x: Tensor, personal: Tensor, neutral: Tensor, scale: Tensor) -> None:
    found = through(x, personal=scale * personal, neutral=neutral / scale)
    close(found, through(x, personal=personal, neutral=neutral))


@given(x=vectors, theta=vectors)
def test_a_direction_that_is_both_personal_and_neutral_is_removed(x: Tensor, theta: Tensor) -> None:
    close(through(x, personal=theta, neutral=theta), through(x, neutral=theta))
