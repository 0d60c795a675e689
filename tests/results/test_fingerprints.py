"""Which files and libraries decide a cell: everything a loader reads, and nothing else."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.api import HistoryItem, Query, TaskData
from harness.methods.aloe import AloeConfig
from harness.results import fingerprints
from harness.results.fingerprints import config_files, data_fingerprint, file_hash, library_versions, model_identity


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"),
        *("chat_template.jinja", "additional_chat_templates/rag.jinja", "tokenizer.model", "spiece.model"),
        *("merges.txt", "vocab.txt", "vocab.json", "model-00002-of-00002.safetensors", "adapter_config.json"),
        *("modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"),
    ],
)
def test_every_file_that_is_loaded_is_part_of_a_models_identity(model, name):
    before, _ = model_identity(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("one")
    one, parts = model_identity(model)
    assert name in parts
    (model / name).write_text("another")
    assert len({before, one, model_identity(model)[0]}) == 3


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE.txt", ".gitattributes", "flax_model.msgpack", "consolidated.safetensors", "a/b.json"]
)
def test_what_no_loader_reads_is_not(model, name):
    before = model_identity(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("text")
    assert model_identity(model) == before


def test_a_folder_under_another_name_is_the_same_model(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert model_identity(f"~/{model.name}") == model_identity(str(model)) == model_identity(model)


def test_a_hub_model_is_its_cached_commit(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("c" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert model_identity("org/name") == (f"org/name@{'c' * 40}", {})
    assert model_identity("org/never-seen") == ("org/never-seen@unknown", {})


def test_a_file_is_read_once_as_long_as_it_stays_as_it_is(model, monkeypatch):
    path, read = model / "model.safetensors", []
    digest = fingerprints.hashlib.file_digest
    monkeypatch.setattr(fingerprints.hashlib, "file_digest", lambda *given: read.append(1) or digest(*given))
    first = [file_hash(path) for _ in range(3)]
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"WEIGHTS")
    assert len(set(first)) == 1 != file_hash(path)
    assert len(read) == 2


def test_the_content_of_files_that_a_configuration_names_counts(tmp_path):
    class Inner(BaseModel):
        corpora: list[Path] = []

    class Config(BaseModel):
        general_data: Path | None = None
        inner: Inner = Inner()
        label: str = "general.jsonl"

    path, folder = tmp_path / "general.jsonl", tmp_path / "corpus"
    path.write_text("a")
    folder.mkdir()
    (folder / "b.txt").write_text("b")
    config = Config(general_data=path, inner=Inner(corpora=[folder, tmp_path / "none"]))
    before = config_files(config)
    assert set(before) == {"general_data", "inner.corpora.0", "inner.corpora.1"}
    assert before["inner.corpora.1"] == "absent"
    (folder / "b.txt").write_text("changed")
    path.write_text("changed")
    after = config_files(config)
    assert [name for name in before if before[name] != after[name]] == ["general_data", "inner.corpora.0"]
    assert config_files(Config()) == {}


def test_aloes_general_data_counts_by_its_content(tmp_path):
    path = tmp_path / "general.jsonl"
    path.write_text('{"prompt": "p", "completion": "c"}')
    config = AloeConfig(general_data=path, general_fraction=0.5)
    before = config_files(config)
    path.write_text('{"prompt": "p", "completion": "d"}')
    assert before.keys() == {"general_data"}
    assert config_files(config) != before


def test_libraries_that_compute_count_and_those_that_carry_do_not():
    found = library_versions(
        {"torch", "transformers", "trl", "sklearn", "pandas", "pydantic", "no_such_library"}, "nf4"
    )
    assert {"torch", "transformers", "tokenizers", "trl", "accelerate", "scikit-learn", "scipy"} <= set(found)
    assert not {"pandas", "pydantic", "no-such-library"} & set(found)


def test_data_without_a_fingerprint_of_its_own_is_known_by_its_records():
    def data(gold="5", text="item", **own):
        items = {"u": (HistoryItem("1", text),)}
        return data_fingerprint(TaskData("dev", items, [Query("q", "u", "text")], {"q": gold}, **own))

    assert data() == data()
    assert len({data(), data(gold="4"), data(text="other")}) == 3
    assert data(fingerprint="own") == data(fingerprint="own", gold="4") == "own"
