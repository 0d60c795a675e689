"""A broken plug-in costs only itself: left out of `all` with a warning, named with its fault when asked for."""

import re
import sys

import pytest

from harness import compare, registry
from harness.api import HarnessError
from harness.registry import (
    COMMANDS,
    CONTROLS,
    METHODS,
    MODELS,
    PRESETS,
    TASKS,
    controls_by_method,
    make_task,
    method_class,
    preset,
)
from harness.reproduction.experiment_spec import common, experiments
from harness.specs.resolve import resolve
from tests.installed import write_package

METHOD = """
from pydantic import BaseModel
from harness.api import Method, Task

class Config(BaseModel):
    x: int = 1

class Needy(BaseModel):
    x: int

class Good(Method):
    "Works."
    Config = Config
    def fit(self, context): ...
    def load(self, directory, task): ...

class NoMethod(BaseModel):
    x: int = 1

class Abstract(Method):
    Config = Config

class NoConfig(Good):
    Config = None

class OtherConfig(Good):
    Config = dict

class NeedsSetting(Good):
    Config = Needy

class OtherConstructor(Good):
    def __init__(self, config, more): ...

class NoTask(Task):
    name = "abstract"

instance = Good(Config())
"""
BROKEN = {
    "plug:NoMethod": "is no Method",
    "plug:instance": "is no Method",
    "plug": "is no Method",
    "plug:Abstract": "lacks fit, load",
    "plug:NoConfig": "has no Config",
    "plug:OtherConfig": "has no Config",
    "plug:NeedsSetting": "x: Field required",
    "plug:OtherConstructor": "missing 1 required positional argument",
    "plug:Nowhere": "has no attribute 'Nowhere'",
    "nowhere:Method": "No module named 'nowhere'",
    "raising:Method": "RuntimeError: not today",
    "leaving:Method": "SystemExit: 3",
    "unreadable:Method": "SyntaxError",
}
MODULES = {
    "plug.py": METHOD,
    "raising.py": "raise RuntimeError('not today')",
    "leaving.py": "raise SystemExit(3)",
    "unreadable.py": "def (",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    def install(entry_points, files=MODULES, package="plug-package"):
        monkeypatch.syspath_prepend(write_package(tmp_path / package, entry_points, files))
        for known in vars(registry).values():
            if isinstance(known, registry.Registry):
                known.__dict__.pop("_points", None)

    before = set(sys.modules)
    yield install
    for known in vars(registry).values():
        if isinstance(known, registry.Registry):
            known.__dict__.pop("_points", None)
    for name in {"plug", "raising", "leaving", "unreadable", "presets_of_others"} - before:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("target", "fault"), BROKEN.items())
def test_a_broken_method_is_named_when_asked_for_and_left_out_of_all(install, target, fault):
    install({"harness.methods": {"odd": target, "good": "plug:Good"}})
    with pytest.raises(HarnessError, match="odd") as told:
        resolve("instruct,odd", tasks="lamp3", budget=1.0)
    assert fault in str(told.value)
    assert "\n" not in str(told.value)
    with pytest.warns(UserWarning, match="odd") as warned:
        spec = resolve("all", tasks="lamp3", budget=1.0)
    assert fault in str(warned[0].message)
    names = {method.name for method in spec.methods}
    assert {"instruct", "chameleon", "good"} <= names
    assert "odd" not in names


def test_a_broken_method_is_said_to_be_registered_as_what_it_is(install):
    install({"harness.methods": {"nomethod": "plug:NoMethod"}})
    with pytest.raises(
        HarnessError, match=r"The method 'nomethod' is registered as plug:NoMethod, which is no Method\."
    ):
        method_class("nomethod")


def test_a_setting_makes_a_method_of_all_usable_and_a_wrong_one_is_an_error(install):
    install({"harness.methods": {"needs": "plug:NeedsSetting"}})
    spec = resolve("all", tasks="lamp3", budget=1.0, overrides={"needs": {"x": 3}})
    assert "needs" in [method.name for method in spec.methods]
    with pytest.raises(HarnessError, match=r"'needs'\. x: Input should be a valid integer"):
        resolve("all", tasks="lamp3", budget=1.0, overrides={"needs": {"x": "much"}})
    with pytest.raises(HarnessError, match="Did you mean beta"):
        resolve("all", tasks="lamp3", budget=1.0, overrides={"dpo": {"betta": 1}})


@pytest.mark.parametrize("group", ["harness.methods", "harness.controls"])
def test_of_two_methods_of_one_name_the_harness_own_counts_and_that_is_said(install, group):
    install({group: {"instruct": "plug:Good", "constant": "plug:Good"}})
    with pytest.warns(UserWarning, match=r"'(instruct|constant)' is registered twice.*plug:Good.*plug-package"):
        spec = resolve("all,controls", tasks="lamp3", budget=1.0)
    names = [method.name for method in spec.methods]
    assert method_class("instruct").__module__ == "harness.methods.instruct"
    assert method_class("constant").__module__ == "harness.methods.controls.fixed_answers"
    assert sorted(names) == sorted({*METHODS.names(), *CONTROLS.names()})


@pytest.mark.parametrize(
    ("name", "target", "fault"),
    [
        ("lamp9", "plug:NoMethod", "is no Task"),
        ("lamp9", "plug:NoTask", "lacks load, parse, supervise"),
        ("lamp9", "harness.tasks.lamp:Lamp3", "calls itself 'lamp3'"),
        ("lamp9", "unreadable:Lamp", "SyntaxError"),
    ],
)
def test_a_broken_task_is_named_when_asked_for_and_left_out_of_all(install, name, target, fault):
    install({"harness.tasks": {name: target}})
    with pytest.raises(HarnessError, match=fault):
        make_task(name)
    with pytest.raises(HarnessError, match=fault):
        resolve(tasks=f"lamp3,{name}", budget=1.0)
    with pytest.warns(UserWarning, match=fault):
        assert resolve(tasks="all", budget=1.0).tasks == tuple(known for known in TASKS.names() if known != name)


MINE = """import json
from harness.tasks.lamp import Lamp3

class Mine(Lamp3):
    name = "mine"
    def load(self, source, split):
        return json.loads("{")
"""


def test_a_task_that_cannot_read_its_data_ends_a_comparison_before_any_cell_and_leaves_the_traceback(install, tmp_path):
    install({"harness.tasks": {"mine": "plug:Mine"}}, {"plug.py": MINE})
    out = tmp_path / "out"
    said = r"The task 'mine', plug:Mine, failed at reading synthetic, split dev: JSONDecodeError: .* \(.*plug\.py:7\)\."
    with pytest.raises(HarnessError, match=said) as told:
        compare("instruct", budget=60.0, tasks="lamp3,mine", users=2, out=out)
    assert str(out / "error.txt") in str(told.value)
    assert "Traceback" in (out / "error.txt").read_text()
    assert not (out / "cells").exists()
    compare("instruct", budget=60.0, tasks="lamp3", users=2, out=out)
    assert not (out / "error.txt").exists()


@pytest.mark.parametrize("name", ["my/own", "..", "my:own", "my\\own", "own.", "-own"])
def test_a_method_or_task_whose_name_can_be_no_folders_is_refused_with_its_package(install, name):
    install({"harness.methods": {name: "plug:Good"}, "harness.tasks": {name: "harness.tasks.lamp:Lamp3"}})
    said = rf"'{re.escape(name)}' is registered as \S+ in harness\.\w+ of the package plug-package, .*no folder's"
    for ask in (method_class, make_task):
        with pytest.raises(HarnessError, match=said):
            ask(name)
    with pytest.warns(UserWarning, match=said):
        spec = resolve("all", tasks="all", budget=1.0)
    assert name not in {*spec.tasks, *(method.name for method in spec.methods)}


@pytest.mark.parametrize("name", ["my own", "a.b-c_1", "méthode"])
def test_a_name_that_a_folder_can_have_is_a_methods(install, name):
    install({"harness.methods": {name: "plug:Good"}})
    assert method_class(name).__name__ == "Good"


def test_a_broken_control_does_not_hide_which_methods_have_controls(install):
    before = controls_by_method()
    install({"harness.controls": {"gone": "plug:Gone"}}, {"plug.py": "x = 1\n"})
    with pytest.warns(UserWarning, match="Left out: .*'gone'"):
        assert controls_by_method() == before
    assert before.keys() == set(METHODS.names()) - {"instruct"}


GOOD = "description: d\nmodel: tiny-llama\ntasks: lamp3\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("model: [", "cannot be read"),
        ("", "holds no keys with values"),
        ("- a list", "holds no keys with values"),
        ("model: tiny-llama\n", "description, tasks"),
        ("description: d\nmodel: 3\ntasks: [lamp3]\n", "model, tasks"),
        (f"{GOOD}methods: [dpo]\n", "under `methods`"),
        (f"{GOOD}methods: {{dpo: null}}\n", "under `methods`"),
        (f"{GOOD}histroy: 3\n", "with the preset 'odd'.*Did you mean history"),
        (f"{GOOD}users: many\n", "with the preset 'odd'.*users"),
        (f"{GOOD}methods: {{dpo: {{betta: 1}}}}\n", "Did you mean beta"),
        ("description: \xff".encode("latin-1").decode("latin-1") + "\nmodel: m\n", "tasks"),
    ],
)
def test_a_broken_preset_is_named_with_its_fault(install, text, fault):
    install({"harness.presets": {"odd": "presets_of_others"}}, {"presets_of_others/odd.yaml": text})
    with pytest.raises(HarnessError, match=fault):
        resolve("dpo", preset_name="odd", budget=1.0)


def test_a_preset_without_its_file_or_module_is_named(install):
    install({"harness.presets": {"odd": "presets_of_others", "lost": "nowhere"}}, {"presets_of_others/other.yaml": ""})
    with pytest.raises(HarnessError, match=r"'odd', odd\.yaml in presets_of_others, cannot be read"):
        preset("odd")
    with pytest.raises(HarnessError, match="No module named 'nowhere'"):
        preset("lost")
    assert "tiny" in PRESETS


@pytest.mark.parametrize("text", ["title: [", "- a list", "title: t\nclaim: x\n"])
def test_a_broken_experiment_is_left_out_of_all_and_named_when_asked_for(install, text):
    install({"harness.experiments": {"a_first": "presets_of_others"}}, {"presets_of_others/a_first.yaml": text})
    with pytest.raises(HarnessError, match=r"The experiment 'a_first', a_first\.yaml in presets_of_others,"):
        experiments("a_first")
    with pytest.warns(UserWarning, match="a_first"):
        assert [experiment.name for experiment in experiments("all")][:3] == ["table1", "table2", "table3"]
    assert common().names


def test_a_model_and_a_command_must_be_what_they_are_registered_as(install):
    install({"harness.models": {"m": "plug:Good"}, "harness.commands": {"c": "plug:Good"}})
    with pytest.raises(HarnessError, match=r"'m'.*no path of a model's folder"):
        MODELS.get("m")
    with pytest.raises(HarnessError, match=r"'c'.*is no Typer app"):
        COMMANDS.get("c")


def test_a_listing_survives_plugins_that_cannot_be_read(install):
    install({"harness.methods": {name: f"{name}:Method" for name in ("raising", "unreadable", "nowhere")}})
    assert [METHODS.summary(name) for name in ("raising", "unreadable", "nowhere")] == ["", "", ""]
