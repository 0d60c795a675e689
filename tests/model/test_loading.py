"""Loading: every refusal is one clear paragraph, and what loads is greedy, complete and where it was asked for."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, GenerationConfig, OPTConfig, OPTForCausalLM

from harness.api import HarnessError
from harness.model.lm import load
from tests.tiny_models import byte_level_tokenizer


@pytest.fixture
def copy(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A llama folder that a test may spoil."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "llama"))


@pytest.mark.parametrize("name", ["/no/such/model", "./model", "runs/x/y", "~/model", "a b"])
def test_a_path_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(HarnessError, match=r"no model folder .* hub name such as organisation/model"):
        load(name)


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_an_unreachable_hub_name_says_what_to_check(name: str) -> None:
    with pytest.raises(HarnessError, match=f"'{name}'.*spelling and the connection"):
        load(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"holds no config\.json"):
        load(str(tmp_path))


def test_a_pickle_is_refused_and_the_way_out_named(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(HarnessError, match=r"pickle only \(pytorch_model\.bin\).*save_pretrained"):
        load(str(copy))


def test_a_pickle_beside_other_safetensors_is_not_loaded_either(copy: Path) -> None:
    weights = copy / "model.safetensors"
    torch.save({}, copy / "pytorch_model.bin")
    weights.rename(copy / "adapter_model.safetensors")
    with pytest.raises(HarnessError, match=r"No safetensors weights .* no file named model\.safetensors"):
        load(str(copy))


def test_missing_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(HarnessError, match="No safetensors weights could be loaded"):
        load(str(copy))


def test_truncated_weights_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(HarnessError, match="No safetensors weights could be loaded"):
        load(str(copy))


def test_weights_that_would_be_random_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HarnessError, match=r"lacks weights of LlamaForCausalLM: lm_head\.weight"):
        load(str(copy))


def test_a_missing_tokenizer_is_named(copy: Path) -> None:
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(HarnessError, match="No tokenizer could be loaded"):
        load(str(copy))


def test_a_tokenizer_without_an_end_of_sequence_is_refused(copy: Path) -> None:
    byte_level_tokenizer(eos_token=None).save_pretrained(copy)
    with pytest.raises(HarnessError, match="has no eos_token"):
        load(str(copy))


def test_a_tokenizer_without_padding_pads_with_its_end(copy: Path) -> None:
    whole = load(str(copy)).generate(["Which tag?", "x"], 6)
    byte_level_tokenizer(pad_token=None).save_pretrained(copy)
    lm = load(str(copy))
    assert lm.tokenizer.pad_token == "</s>"
    assert lm.generate(["Which tag?", "x"], 6) == whole


def test_a_model_of_unknown_length_is_refused(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder("t5"), tmp_path / "t5"))
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace("256", str(10**30)))
    with pytest.raises(HarnessError, match="says how many tokens it takes"):
        load(str(folder))


@pytest.mark.parametrize("kind", ["opt", "bloom"])
def test_an_unknown_architecture_names_what_was_looked_for(kind: str, tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
    opt = OPTConfig(**size, ffn_dim=16, num_attention_heads=2, word_embed_proj_dim=16)
    model = OPTForCausalLM(opt) if kind == "opt" else BloomForCausalLM(BloomConfig(**size, n_head=2))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"ForCausalLM cannot be edited.*model\.layers\.<i>\.mlp.*decoder\.block"):
        load(str(tmp_path))


def test_remote_code_is_not_run(copy: Path) -> None:
    config = copy / "config.json"
    own = '{"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil",'
    config.write_text(config.read_text().replace('"model_type": "llama",', "").replace("{", own, 1))
    (copy / "evil.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(HarnessError, match="No configuration could be loaded"):
        load(str(copy))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_cuda_without_cuda_is_refused(copy: Path) -> None:
    with pytest.raises(HarnessError, match="Device 'cuda' cannot be used"):
        load(str(copy), device="cuda")


def test_a_device_or_dtype_that_does_not_exist_is_refused(copy: Path) -> None:
    with pytest.raises(HarnessError, match="Device 'meta' cannot be used"):
        load(str(copy), device="meta")
    with pytest.raises(HarnessError, match="Device 'gpu' cannot be used"):
        load(str(copy), device="gpu")
    with pytest.raises(HarnessError, match="Unknown dtype 'int3'"):
        load(str(copy), device="cpu", dtype="int3")


def test_float32_is_the_default_on_a_cpu_and_bfloat16_warns(copy: Path) -> None:
    assert load(str(copy), device="cpu").model.dtype == torch.float32
    with pytest.warns(UserWarning, match="slower than float32"):
        lm = load(str(copy), device="cpu", dtype="bfloat16")
    assert lm.model.dtype == torch.bfloat16
    assert lm.represent(["Your answer:"], ["comedy"], "last").dtype == torch.float32


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantization_without_its_package_says_what_to_install(copy: Path) -> None:
    with pytest.raises(HarnessError, match="pip install bitsandbytes"):
        load(str(copy), quantization="nf4")


def test_a_checkpoints_sampling_habits_are_left_behind(copy: Path) -> None:
    greedy = load(str(copy)).generate(["Which tag? Your answer:"], 12)
    GenerationConfig(
        do_sample=True, temperature=3.0, repetition_penalty=9.0, no_repeat_ngram_size=1, eos_token_id=[1, 4]
    ).save_pretrained(copy)
    lm = load(str(copy))
    assert lm.generate(["Which tag? Your answer:"], 12) == greedy
    assert lm.model.generation_config.eos_token_id == [1, 4]
