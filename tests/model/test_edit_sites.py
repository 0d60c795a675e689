"""Edits of blocks and of some tokens alone, against a NumPy hook on whole sequences, one row at a time."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import get_args

import numpy as np
import pytest
import torch

from harness.api import EditPositions, Edits
from harness.model.architectures import site_modules
from harness.model.lm import HuggingFaceModel
from tests.tiny_models import CAUSAL

WIDTH, LAYERS = 32, (0, 2)
SHARED = "A lonely detective follows a trail of letters across the city. " * 2
PROMPTS = [SHARED + "Your answer:", "Which tag? Your answer:", SHARED + "x Your answer:", "x Your answer:"]
OUTPUTS = ["comedy", "a thriller", "", "romance, fantasy"]
KINDS = [(site, positions, False) for site in ("mlp", "block") for positions in get_args(EditPositions)]
KINDS.append(("mlp", "all", True))
MODULES = {
    "llama": ("model.layers.{}", "mlp"),
    "mistral": ("model.layers.{}", "mlp"),
    "qwen2": ("model.layers.{}", "mlp"),
    "gpt2": ("transformer.h.{}", "mlp"),
    "t5": ("decoder.block.{}", "layer.2.DenseReluDense"),
}


def make_edits(site, positions, rows=(1, -1, 0, 1), bounded=False) -> Edits:
    random = torch.Generator().manual_seed(1)
    banks = [torch.randn((2, len(LAYERS), WIDTH), generator=random) * size for size in (5.0, 0.01, 20.0)]
    strength = torch.tensor([[1.0, 0.5], [2.0, 1.5]])
    return Edits(LAYERS, tuple(rows), *banks, strength=strength, site=site, positions=positions, bounded=bounded)


def by_the_paper(x, personal, neutral, offset, strength, bounded):
    """The equations for the rows of x [n, d], one after the other."""
    for sign, direction in ((1, personal), (-1, neutral)):
        unit = direction / np.linalg.norm(direction)
        parts = np.tanh(x @ unit) if bounded and sign > 0 else x @ unit
        x = x + sign * strength * parts[:, None] * unit
    return x + offset


@contextmanager
def reference_edit(kind, model, edits, row, first):
    """Edit positions from `first` on, of the only sequence in the batch, whose whole length goes through the model."""

    def hook(number):
        banks = [bank[row, number].double().numpy() for bank in (edits.personal, edits.neutral, edits.offset)]

        def change(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            x = states[0].double().numpy().copy()
            x[first:] = by_the_paper(x[first:], *banks, float(edits.strength[row, number]), edits.bounded)
            changed = torch.from_numpy(x).to(states.dtype)[None]
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return change

    block, mlp = MODULES[kind]
    with ExitStack() as hooks:
        for number, layer in enumerate(edits.layers if row >= 0 else ()):
            module = model.get_submodule(block.format(layer) + (f".{mlp}" if edits.site == "mlp" else ""))
            hooks.callback(module.register_forward_hook(hook(number)).remove)
        yield


def reference_logits(kind, lm, prompt, new, edits, row):
    """Logits that predict each token of `new` and the one after it, [len(new) + 1, V]."""
    source, start = lm.prompt_ids(prompt), lm.model.generation_config.decoder_start_token_id
    prefix = [start] if lm.is_encoder_decoder else source
    first = {"all": 0, "answer": len(prefix) - 1, "generated": len(prefix)}[edits.positions]
    sequence = torch.tensor([[*prefix, *new]])
    with torch.no_grad(), reference_edit(kind, lm.model, edits, row, first):
        if lm.is_encoder_decoder:
            found = lm.model(torch.tensor([source]), decoder_input_ids=sequence, use_cache=False)
        else:
            found = lm.model(sequence, use_cache=False)
    return found.logits[0, len(prefix) - 1 :].double()


def reference_answer(kind, lm, prompt, edits, row, most):
    new: list[int] = []
    while len(new) < most and (not new or new[-1] not in lm._ends):
        new.append(int(reference_logits(kind, lm, prompt, new, edits, row)[-1].argmax()))
    return lm._encoder.decode(new)


@pytest.fixture(params=[*CAUSAL, "t5"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def lm(kind: str, tiny_lm: Callable[[str], HuggingFaceModel]) -> HuggingFaceModel:
    return tiny_lm(kind)


@pytest.mark.parametrize(("site", "positions", "bounded"), KINDS)
def test_likelihoods_in_a_mixed_batch_are_those_of_edited_whole_sequences(kind, lm, site, positions, bounded):
    edits = make_edits(site, positions, bounded=bounded)
    expected = []
    for prompt, output, row in zip(PROMPTS, OUTPUTS, edits.rows, strict=True):
        ids = [*lm.answer_ids(output), lm.answer_end]
        logits = reference_logits(kind, lm, prompt, ids[:-1], edits, row)
        expected.append(logits.log_softmax(-1)[range(len(ids)), ids].sum())
    found = lm.log_likelihood(PROMPTS, OUTPUTS, edits)
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("site", "positions", "bounded"), KINDS)
def test_answers_in_a_mixed_batch_are_those_of_edited_whole_sequences(kind, lm, site, positions, bounded):
    edits = make_edits(site, positions, bounded=bounded)
    expected = [reference_answer(kind, lm, p, edits, row, 5) for p, row in zip(PROMPTS, edits.rows, strict=True)]
    assert lm.generate(PROMPTS, 5, edits) == expected
    assert expected != lm.generate(PROMPTS, 5)


@pytest.mark.parametrize("kind", ["llama"], indirect=True)
@pytest.mark.parametrize("positions", ["answer", "generated"])
def test_transformers_own_decoding_edits_the_same_tokens_with_and_without_its_cache(kind, lm, positions):
    edits = make_edits("block", positions)
    expected = lm.generate(PROMPTS, 5, edits)
    lm.model.generation_config.encoder_no_repeat_ngram_size = 50  # has no effect, but is not known to `decode`
    assert lm.generate(PROMPTS, 5, edits) == expected
    lm.model.generation_config.prefill_chunk_size = 4
    assert lm.generate(PROMPTS, 5, edits) == expected
    lm.model.generation_config.use_cache = False
    assert lm.generate(PROMPTS, 5, edits) == expected


@pytest.mark.parametrize("kind", ["llama"], indirect=True)
def test_a_prompt_is_read_once_for_all_edits_of_answers_and_for_each_edit_of_its_own(kind, lm):
    prompts, rows = [SHARED + "Your answer:"] * 2, (0, 1)
    length = lm.count_tokens(prompts[0])
    for positions, computed in (("answer", length + 1), ("generated", length + 1), ("all", 2 * length)):
        edits, before = make_edits("block", positions, rows), lm.tokens_computed
        lm.generate(prompts, 1, edits)
        assert lm.tokens_computed - before == computed


def test_the_first_token_of_an_answer_is_changed_by_edits_of_the_answer_and_never_by_those_of_generated_tokens(
    kind, lm
):
    plain = lm.generate(PROMPTS, 1)
    changed = lm.generate(PROMPTS, 1, make_edits("block", "answer"))
    assert changed[0] != plain[0]
    assert changed[1] == plain[1]  # which is not edited
    assert lm.generate(PROMPTS, 1, make_edits("block", "generated")) == plain


@pytest.mark.parametrize("position", ["last", "answer_start"])
def test_representations_of_a_block_are_its_hidden_states(kind, lm, position):
    found = lm.represent(PROMPTS, OUTPUTS, position, "block")
    for prompt, output, states in zip(PROMPTS, OUTPUTS, found, strict=True):
        source, answer = lm.prompt_ids(prompt), lm.answer_ids(output)
        if lm.is_encoder_decoder:
            inputs = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([[0, *answer]])}
            with torch.no_grad():
                hidden = lm.model(**inputs, output_hidden_states=True).decoder_hidden_states
            place = len(answer) if position == "last" else 0
        else:
            with torch.no_grad():
                hidden = lm.model(torch.tensor([source + answer]), output_hidden_states=True).hidden_states
            place = -1 if position == "last" else len(source) - 1
        # The last hidden state is taken after the final norm, which is no block's output.
        expected = torch.stack([layer[0, place] for layer in hidden[1:-1]])
        torch.testing.assert_close(states[:-1], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama"], indirect=True)
def test_a_blocks_state_recorded_while_decoding_is_what_represent_gives(kind, lm):
    found = lm.generate_represented(PROMPTS, 6, "answer_start", site="block")
    expected = lm.represent(PROMPTS, found.texts, "answer_start", "block")
    torch.testing.assert_close(torch.stack(found.states), expected, rtol=1e-4, atol=1e-3)


def test_hooks_on_blocks_go_with_the_call(lm):
    lm.generate(PROMPTS, 2, make_edits("block", "generated"))
    assert not any(block._forward_hooks for block in site_modules(lm.model, "block"))


@pytest.mark.parametrize("kind", ["llama"], indirect=True)
def test_a_place_that_there_is_not_is_refused_in_place_of_another_one(kind, lm):
    with pytest.raises(ValueError, match="no site 'residual'; known: mlp, block"):
        lm.generate(PROMPTS, 2, make_edits("residual", "all"))
    with pytest.raises(ValueError, match="no positions 'prompt'; known: all, answer, generated"):
        lm.generate(PROMPTS, 2, make_edits("mlp", "prompt"))
    with pytest.raises(ValueError, match="no position 'first'; known: last, answer_start"):
        lm.represent(PROMPTS, OUTPUTS, "first")
    assert not any(module._forward_hooks for module in lm.model.modules())
