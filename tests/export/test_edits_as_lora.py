"""An edit as an adapter: the same logits and greedy answers with peft alone as with the hooks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.api import Edits, HarnessError
from harness.export.edits_as_lora import factors, save_edits
from harness.model.architectures import mlp_modules
from harness.model.editing import edited
from harness.model.lm import load
from tests.tiny_models import write_model

PROMPTS = ["A lonely detective", "Which tag does this movie relate to?", "just had the best coffee"]


def edits(lm, rows=(0, 1, 1), **bank):
    generator = torch.Generator().manual_seed(5)
    shape = (2, 2, lm.hidden_size)
    personal, neutral = (torch.randn(shape, generator=generator) for _ in range(2))
    return Edits(**{"layers": (0, 2), "rows": rows, "personal": personal, "neutral": neutral, **bank})


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("row", [0, 1])
def test_peft_alone_gives_the_hooks_logits_and_answers(kind, row, tmp_path):
    lm = load(str(write_model(kind, tmp_path / "model")), "cpu")
    found = edits(lm, rows=(row,) * len(PROMPTS), strength=torch.tensor([[1.0, 0.5], [1.0, 2.0]]))
    expected = lm.generate(PROMPTS, 12, found)
    plain = lm.generate(PROMPTS, 12)
    save_edits(lm.model, found, row, tmp_path / "adapter")
    assert lm.generate(PROMPTS, 12) == plain, "exporting changed the model"

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    lm.model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert lm.generate(PROMPTS, 12) == expected
    assert expected != plain
    ids = torch.tensor([lm.prompt_ids(PROMPTS[1])])
    with torch.no_grad():
        served = lm.model(ids).logits
    source = load(str(tmp_path / "model"), "cpu")
    with torch.no_grad(), edited(mlp_modules(source.model), found, [0]):
        hooked = source.model(ids).logits
    assert torch.allclose(served, hooked, atol=1e-4)


def test_an_encoder_decoders_edit_touches_its_decoder_only(tmp_path):
    lm = load(str(write_model("t5", tmp_path / "model")), "cpu")
    found = edits(lm, rows=(1,) * len(PROMPTS))
    expected = lm.generate(PROMPTS, 8, found)
    save_edits(lm.model, found, 1, tmp_path / "adapter")
    base = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    lm.model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert lm.generate(PROMPTS, 8) == expected


@given(st.integers(0, 2**31), st.sampled_from(["both", "personal", "neutral"]), st.floats(0, 3))
def test_the_factors_are_the_papers_equations_in_numpy(seed, edit, strength):
    draw = np.random.default_rng(seed)
    weight, x = draw.normal(size=(7, 5)), draw.normal(size=5)
    p = draw.normal(size=7) * (edit != "neutral")
    n = draw.normal(size=7) * (edit != "personal")
    y = weight @ x
    if p.any():
        y = y + strength * (y @ p) / (p @ p) * p
    if n.any():
        y = y - strength * (y @ n) / (n @ n) * n
    a, b = factors(*map(torch.from_numpy, (weight, p, n)), strength)
    assert np.allclose(weight @ x + b.double().numpy() @ (a.double().numpy() @ x), y, atol=1e-4)


def test_an_mlp_that_ends_in_a_bias_is_refused(tmp_path):
    lm = load(str(write_model("gpt2", tmp_path / "model")), "cpu")
    with pytest.raises(HarnessError, match="bias-free"):
        save_edits(lm.model, edits(lm), 0, tmp_path / "adapter")


def test_an_offset_and_a_bounded_edit_are_refused(tmp_path):
    lm = load(str(write_model("llama", tmp_path / "model")), "cpu")
    with pytest.raises(HarnessError, match="offset"):
        save_edits(lm.model, edits(lm, offset=torch.ones(2, 2, lm.hidden_size)), 0, tmp_path / "adapter")
    with pytest.raises(HarnessError, match="bounded"):
        save_edits(lm.model, edits(lm, bounded=True), 0, tmp_path / "adapter")


@pytest.mark.parametrize("where", [{"site": "block"}, {"positions": "answer"}, {"positions": "generated"}])
def test_edits_that_are_no_change_of_an_mlps_weights_are_refused(where, tmp_path):
    lm = load(str(write_model("llama", tmp_path / "model")), "cpu")
    with pytest.raises(HarnessError, match="no change of weights"):
        save_edits(lm.model, edits(lm, **where), 0, tmp_path / "adapter")
