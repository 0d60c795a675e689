"""Plug-ins by name, and specifications made from what a user typed."""

import pytest

from harness.api import HarnessError
from harness.registry import (
    CONTROLS,
    METHODS,
    MODELS,
    PRESETS,
    TASKS,
    Registry,
    control_of,
    is_instrument,
    method_class,
    preset,
)
from harness.specs.resolve import build_method, expand_methods, resolve


def test_the_methods_and_seven_tasks_are_registered():
    prompting, training = ["instruct", "llm_rec", "pag", "rag"], ["aloe", "dpo", "oppu"]
    assert METHODS.names() == sorted([*prompting, *training, "caa", "chameleon", "style_vector"])
    shuffled = [f"shuffled_{name}" for name in METHODS.names() if name not in ("caa", "chameleon", "instruct")]
    nobody_s = ["constant", "no_history", "shuffled_prompt", "user_majority"]
    of_edits = ["mean_difference", "random_direction", "random_offset", "shuffled_history"]
    assert CONTROLS.names() == sorted([*nobody_s, *shuffled, *of_edits])
    assert TASKS.names() == [f"lamp{number}" for number in range(1, 8)]
    assert "tiny-llama" in MODELS


def test_a_control_says_of_which_method_it_is_one():
    found = {name: control_of(name) for name in CONTROLS.names()}
    assert {name for name, method in found.items() if not method} == {
        "constant",
        "no_history",
        "shuffled_prompt",
        "user_majority",
    }
    assert {name for name, method in found.items() if method == "aloe"} == {"shuffled_aloe"}
    assert {name for name, method in found.items() if method == "caa"} == {"random_offset"}
    assert {*found.values(), "instruct"} == {*METHODS.names(), ""}, "a method without a control of its own"
    assert control_of("random_direction:subspace=principal") == "chameleon"
    assert not any(control_of(name) for name in METHODS.names())


def test_embedded_models_are_instruments_and_others_are_not():
    assert [name for name in MODELS.names() if is_instrument(name)] == ["tiny-llama", "tiny-t5"]
    assert not is_instrument("google/flan-t5-xxl")


@pytest.mark.parametrize("registry", [METHODS, CONTROLS, TASKS, MODELS])
def test_every_registered_name_imports(registry):
    for name in registry.names():
        assert registry.get(name) is not None


@pytest.mark.parametrize("registry", [METHODS, CONTROLS, TASKS])
def test_every_plugin_says_in_a_line_what_it_is(registry):
    for name in registry.names():
        assert registry.summary(name) == (registry.get(name).__doc__ or "").splitlines()[0]


def test_an_unknown_name_brings_the_nearest_known_ones():
    with pytest.raises(HarnessError, match=r"Unknown task 'lamp8'\. Did you mean lamp"):
        TASKS.get("lamp8")
    with pytest.raises(HarnessError, match=r"Unknown method 'chamelon'\. Did you mean chameleon"):
        method_class("chamelon")


def test_an_empty_registry_knows_nothing():
    with pytest.raises(HarnessError, match="Known: none"):
        Registry("harness.nothing", "thing").get("x")


def test_all_begins_with_instruct_and_leaves_controls_out():
    names = [spec.name for spec in expand_methods("all")]
    assert names[0] == "instruct"
    assert set(names) == set(METHODS.names())
    assert {spec.name for spec in expand_methods("all,controls")} == {*METHODS.names(), *CONTROLS.names()}


@pytest.mark.parametrize("name", PRESETS.names())
def test_every_preset_resolves_with_all_methods_and_controls(name):
    spec = resolve("all,controls", preset_name=name, budget=60.0)
    assert spec.preset == name
    assert spec.tasks == ("lamp2", "lamp3", "lamp7")
    for method in spec.methods:
        build_method(method, spec)


def test_all_tasks_are_every_registered_one():
    assert resolve(tasks="all", budget=1.0).tasks == tuple(TASKS.names())


def test_the_command_line_wins_over_the_variant_of_the_preset():
    spec = resolve("chameleon:edit=personalized", overrides={"chameleon": {"num_layers": 4}}, budget=1.0, group_size=7)
    config = build_method(spec.methods[0], spec).config
    assert (config.edit, config.num_layers, config.group_size) == ("personalized", 4, 7)


def test_a_missing_setting_falls_back_to_the_preset():
    assert resolve(budget=1.0, history=None).history == preset("tiny")["history"]
    assert resolve(budget=1.0, history=3).history == 3


def test_unseen_users_show_no_history_unless_asked():
    assert resolve(budget=1.0, regime="unseen").eval_history == "none"
    assert resolve(budget=1.0, regime="unseen", eval_history="own").eval_history == "own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset_name": "tyni"}, "Did you mean tiny"),
        ({"tasks": "lamp3,lamp9"}, "Unknown task 'lamp9'"),
        ({"methods": "chameleon:num_layer=2"}, "Did you mean num_layers"),
        ({"methods": "dpo:lora.r=2"}, r"Unknown key 'lora\.r'.* given as a whole: lora=\{\"r\": \.\.\.\}"),
        ({"methods": "chameleon:edit=sideways"}, "edit: .*personalized"),
        ({"tasks": ""}, "Unknown task ''"),
        ({"methods": "all,rag"}, r"named twice: rag\.$"),
        (
            {"methods": "\udc80ll,\udc80ll"},
            r"named twice:  ll\.$",
        ),  # bytes that are no UTF-8, as a shell hands them over
        ({"methods": "chameleon:edit=both,num_layers=2,chameleon:num_layers=2,edit=both"}, "named twice"),
        ({"overrides": {"dpo": {"beta": 1}}, "methods": "instruct"}, "not among the methods"),
        ({"overrides": {"dpo": {"bet": 1}}, "methods": "instruct,shuffled_dpo"}, "Did you mean beta"),
        ({"regime": "sen"}, "regime"),
        ({"users": 0}, "users"),
        ({"seeds": ()}, "seeds"),
    ],
)
def test_bad_requests_are_explained(arguments, message):
    with pytest.raises(HarnessError, match=message):
        resolve(**{"budget": 1.0, **arguments})


def test_a_control_takes_what_is_set_of_its_method_less_what_it_declares_or_is_set_otherwise():
    chameleon = {"edit": "neutral", "layers": [0], "num_layers": 1}
    overrides = {"chameleon": chameleon, "aloe": {"training": "lora"}, "random_direction": {"num_layers": 2}}
    spec = resolve("chameleon,random_direction,mean_difference,aloe,shuffled_aloe", budget=1.0, overrides=overrides)
    made = {method.name: build_method(method, spec).config for method in spec.methods}
    drawn, mean = made["random_direction"], made["mean_difference"]
    assert (drawn.edit, drawn.layers, drawn.num_layers) == ("neutral", (0,), 2)
    assert (mean.edit, mean.layers, mean.num_layers) == ("both", (0,), 1)  # its offset has but one form
    assert made["shuffled_aloe"] == made["aloe"]
    alone = resolve("chameleon,random_direction:num_layers=2", budget=1.0, overrides={"chameleon": chameleon})
    assert build_method(alone.methods[1], alone).config == drawn


@pytest.mark.parametrize("name", PRESETS.names())
def test_in_every_preset_a_control_has_the_settings_of_its_method(name):
    methods = preset(name)["methods"]
    assert all(methods[control] == methods[method] for control in CONTROLS.names() if (method := control_of(control)))


def test_a_control_takes_what_is_set_of_its_method_where_that_does_not_run():
    spec = resolve("instruct,shuffled_aloe", budget=1.0, overrides={"aloe": {"training": "lora"}})
    assert [method.name for method in spec.methods] == ["instruct", "shuffled_aloe"]
    assert build_method(spec.methods[1], spec).config.training == "lora"
