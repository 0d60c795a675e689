"""The presets hold settings that exist, and the paper's numbers."""

from types import SimpleNamespace

import pytest
from transformers import MistralConfig, T5Config

from harness.registry import CONTROLS, METHODS, PRESETS, preset
from harness.specs.resolve import build_method, resolve

NAMES = ["tiny", "small", "paper-mistral", "paper-flan-t5"]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_known(name):
    assert name in PRESETS
    sections = preset(name)["methods"]
    assert set(sections) <= {*METHODS.names(), *CONTROLS.names()}
    spec = resolve(methods=",".join(sections), preset_name=name, budget=60.0)
    for method in spec.methods:
        config = build_method(method, spec).config.model_dump()
        assert all(key in config for key in sections[method.name])


@pytest.mark.parametrize("name", NAMES)
def test_every_method_has_settings(name):
    assert set(METHODS.names()) <= set(preset(name)["methods"])


@pytest.mark.parametrize("name", NAMES)
def test_who_retrieves_shows_as_many_items_as_the_run_whatever_its_history(name):
    spec = resolve(methods="rag,pag", preset_name=name, budget=60.0)
    assert [build_method(method, spec).config.k for method in spec.methods] == [None, None]


@pytest.mark.parametrize("name", ["paper-mistral", "paper-flan-t5"])
def test_the_papers_numbers(name):
    methods = preset(name)["methods"]
    aloe, dpo = methods["aloe"], methods["dpo"]
    assert (aloe["num_epochs"], aloe["batch_size"], aloe["accumulation"]) == (1, 1, 48)
    assert (aloe["learning_rate"], aloe["max_length"]) == (1e-5, 8192)
    assert (dpo["num_epochs"], dpo["batch_size"], dpo["accumulation"]) == (1, 16, 1)
    assert (dpo["learning_rate"], dpo["max_grad_norm"], dpo["warmup_ratio"]) == (5e-5, 0.3, 0.1)
    assert (dpo["scheduler"], dpo["lora"]) == ("cosine", {"r": 256, "alpha": 128, "dropout": 0.05})


@pytest.mark.parametrize("name", ["paper-mistral", "paper-flan-t5"])
def test_an_adapter_per_user_is_trained_as_its_authors_do(name):
    """Tan et al. (2024): LoRA of rank and alpha 8 on queries and values, two epochs over all of a history."""
    spec = resolve(methods="oppu", preset_name=name, budget=60.0)
    config, defaults = build_method(spec.methods[0], spec).config, METHODS.get("oppu").Config()
    assert config == defaults
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (8, 8, 0.05)
    assert (config.learning_rate, config.num_epochs, config.batch_size, config.accumulation) == (1e-4, 2, 16, 1)
    assert (config.items, config.task_adapter) == (None, True)
    model = SimpleNamespace(config={"paper-mistral": MistralConfig(), "paper-flan-t5": T5Config()}[name])
    assert (
        set(config.lora.peft(model).target_modules)
        == {
            "paper-mistral": {"q_proj", "v_proj"},
            "paper-flan-t5": {"q", "v"},
        }[name]
    )


@pytest.mark.parametrize("name", ["paper-mistral", "paper-flan-t5"])
def test_vectors_are_added_to_the_residual_stream_from_the_first_token_of_the_answer_on(name):
    methods = preset(name)["methods"]
    for method in ("caa", "style_vector"):
        assert (methods[method]["site"], methods[method]["edit_positions"]) == ("block", "answer")


@pytest.mark.parametrize("name", ["paper-mistral", "paper-flan-t5"])
def test_defaults_are_the_papers_too(name):
    spec = resolve(methods="aloe,dpo,chameleon", preset_name=name, budget=60.0)
    for method in spec.methods:
        with_preset = build_method(method, spec).config
        defaults = METHODS.get(method.name).Config().model_dump()
        changed = {key for key, value in with_preset.model_dump().items() if value != defaults[key]}
        assert changed <= {"lora", "insight_tokens"}
