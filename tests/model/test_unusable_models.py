"""Folders that load, or nearly so, but that no cell could use: one clear paragraph, before any work."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from harness.api import HarnessError
from harness.model.architectures import site_modules
from harness.model.embedding import load_embedder
from harness.model.lm import load


@pytest.fixture
def copied(model_folder, tmp_path):
    """A copy of a tiny model that may be spoilt."""

    def copy(kind):
        return shutil.copytree(model_folder(kind), tmp_path / kind)

    return copy


def test_a_model_that_does_not_fit_the_device_is_not_called_incomplete(model_folder, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.00 GiB.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(HarnessError, match=r"does not fit .* --quantization nf4.* Tried to allocate 14.00 GiB"):
        load(str(model_folder("llama")))


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize(("role", "told"), [("pad_token", "padding"), ("eos_token", "end of sequence")])
def test_a_token_outside_the_embeddings_is_refused_with_its_role(copied, kind, role, told):
    folder = copied(kind)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({role: "<new>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(HarnessError, match=rf"{told} \('<new>'\) has the id (\d+), but there are \1 embeddings"):
        load(str(folder))


def test_a_template_whose_tokens_have_no_embedding_is_refused(copied):
    folder = copied("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<turn>"]})
    tokenizer.chat_template = "<turn>{{ messages[0].content }}</s>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(HarnessError, match="surroundings"):
        load(str(folder))


@pytest.mark.parametrize("added", [{"extra_special_tokens": ["<never>"]}, {"unk_token": "<never>"}])
def test_an_added_token_that_nothing_sends_does_no_harm(copied, added):
    """Byte-level vocabularies, Qwen's and GPT-2's, name an unknown token that no text becomes."""
    folder = copied("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(added)
    tokenizer.save_pretrained(folder)
    assert load(str(folder)).generate(["a <never> movie. Your answer:"], 2)


def test_the_tokenizer_of_a_larger_model_is_refused(copied, model_folder):
    folder = copied("llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["zzz"] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(HarnessError, match=r"vocabulary \('zzz'\)"):
        load(str(folder))


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "gpt2", "t5"])
def test_a_model_without_its_tokenizer_is_refused(copied, kind):
    folder = copied(kind)
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(HarnessError, match="tokenizer"):
        load(str(folder))


@pytest.mark.parametrize("complete", [True, False])
def test_an_adapter_is_refused_with_the_name_of_its_base(copied, complete):
    folder = copied("llama")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    if not complete:
        (folder / "config.json").unlink()
    with pytest.raises(HarnessError, match="is a PEFT adapter of some/base, not a model"):
        load(str(folder))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_an_adapter_whose_base_cannot_be_read_is_refused_too(copied, text):
    folder = copied("llama")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(HarnessError, match="base model that it does not name"):
        load(str(folder))


@pytest.mark.parametrize("text", ["[]", "null", '{"model_type": ["llama"]}'])
def test_a_configuration_of_another_kind_is_refused_of_a_model_and_of_an_embedder(copied, text):
    folder = copied("llama")
    (folder / "config.json").write_text(text)
    with pytest.raises(HarnessError, match=r"could be loaded for '.*llama'\. Check that the folder is complete"):
        load(str(folder))
    with pytest.raises(HarnessError, match=r"Cannot load the sentence embedder '.*llama'"):
        load_embedder(str(folder), "cpu")


def test_a_value_of_another_kind_is_named(copied):
    folder = copied("llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": "many"}))
    with pytest.raises(HarnessError, match=r"'num_hidden_layers': TypeError: .* expected int, got str"):
        load(str(folder))


@pytest.mark.parametrize("ends", ["</s>", {}, [1, "</s>"]])
def test_an_end_of_sequence_that_is_no_id_is_refused(copied, ends):
    folder = copied("llama")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with pytest.raises(HarnessError, match=r"has the eos_token_id .* by their ids"):
        load(str(folder))


def test_a_length_that_is_none_is_not_taken_for_one(copied):
    folder = copied("llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": -1}))
    assert load(str(folder)).max_length == 256
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": "many"}))
    with pytest.raises(HarnessError, match="No tokenizer could be loaded"):
        load(str(folder))


def test_an_encoder_decoder_without_a_first_token_is_refused(copied):
    folder = copied("t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    model.save_pretrained(folder)
    with pytest.raises(HarnessError, match="decoder_start_token_id"):
        load(str(folder))


def test_the_blocks_of_a_model_that_gives_several_outputs_at_once_are_not_edited(model_folder):
    lm = load(str(model_folder("llama")))
    lm.model.config.model_type = "gemma3n_text"
    assert len(site_modules(lm.model, "mlp")) == 3
    with pytest.raises(HarnessError, match="Edit site=mlp"):
        site_modules(lm.model, "block")


def test_an_embedder_without_a_padding_token_pads_with_its_end(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("llama"), tmp_path / "embedder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    embed, texts = load_embedder(str(folder), "cpu"), ["a movie", "a lonely detective follows a trail of letters"]
    np.testing.assert_allclose(embed(texts), np.concatenate([embed([text]) for text in texts]), atol=1e-5)
