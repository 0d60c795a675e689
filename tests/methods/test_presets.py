"""The presets hold settings that exist, and the paper's numbers."""

import pytest

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
def test_defaults_are_the_papers_too(name):
    spec = resolve(methods="aloe,dpo,chameleon", preset_name=name, budget=60.0)
    for method in spec.methods:
        with_preset = build_method(method, spec).config
        defaults = METHODS.get(method.name).Config().model_dump()
        changed = {key for key, value in with_preset.model_dump().items() if value != defaults[key]}
        assert changed <= {"lora", "insight_tokens"}
