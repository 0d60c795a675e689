"""Which code decides a cell: found by reading imports, hashed without comments, docstrings and formatting."""

import itertools
import subprocess
import sys

import pytest

from harness.results.source_closure import engine_closure, plugin_closure

NUMBER = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package of modules under a name that no other test has, and gives the closure of one of them."""
    monkeypatch.syspath_prepend(tmp_path)

    def closure(start="method", **modules):
        name = f"third_party_{next(NUMBER)}"
        folder = tmp_path / name
        folder.mkdir()
        for module, source in {"__init__": "", **modules}.items():
            path = folder / (module.replace("__dot__", ".") if "__dot__" in module else f"{module}.py")
            path.write_text(source.replace("PACKAGE", name))
        found = plugin_closure(f"{name}.{start}")
        return {
            module.removeprefix(name).lstrip("./"): digest for module, digest in found.modules.items()
        }, found.libraries

    return closure


def test_comments_docstrings_and_formatting_decide_nothing(package):
    plain, _ = package(method="def f(x):\n    return x + 1\n\nclass A:\n    def g(self): pass\n")
    dressed, _ = package(
        method='"""Says."""\n# why\ndef f( x ):\n    """What."""\n    return (x\n        + 1)  # more\nclass A:\n'
        '    """A."""\n    def g(self):\n        """Nothing."""\n'
    )
    assert plain == dressed


@pytest.mark.parametrize(
    "changed", ["def f(x):\n    return x - 1", "def f(x):\n    return 'x + 1'", "def f(y):\n    return y"]
)
def test_what_code_says_decides(package, changed):
    assert package(method="def f(x):\n    return x + 1")[0]["method"] != package(method=changed)[0]["method"]


@pytest.mark.parametrize(
    "statement",
    [
        "import PACKAGE.helper",
        "from PACKAGE import helper",
        "from PACKAGE.helper import f",
        "from . import helper",
        "from .helper import f",
        "def f():\n    from PACKAGE import helper",
        "try:\n    import PACKAGE.helper as h\nexcept ImportError:\n    pass",
        "import importlib\nh = importlib.import_module('PACKAGE.helper')",
    ],
)
def test_imports_of_every_kind_are_followed(package, statement):
    found, _ = package(method=statement, helper="from . import deeper", deeper="", unrelated="x = 1")
    assert set(found) == {"", "method", "helper", "deeper"}


def test_imports_for_type_checkers_are_not(package):
    unseen = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trl\n    from . import helper\n"
    found, libraries = package(method=f"{unseen}import peft", helper="")
    assert set(found) == {"", "method"}
    assert libraries == {"peft"}


def test_modules_that_import_each_other_are_found_once(package):
    found, _ = package(method="from . import other", other="from . import method")
    assert set(found) == {"", "method", "other"}


def test_a_file_of_prompts_beside_a_module_that_names_it_counts(package):
    source = "from pathlib import Path\nTEXT = (Path(__file__).parent / 'prompts.txt').read_text()"
    before, _ = package(method=source, prompts__dot__txt="Answer:")
    after, _ = package(method=source, prompts__dot__txt="Answer briefly:", notes__dot__txt="no matter")
    assert set(before) == {"", "method", "prompts.txt"} == set(after)
    assert before["prompts.txt"] != after["prompts.txt"]


def test_a_module_that_this_python_cannot_read_counts_as_it_is(package):
    found, _ = package(method="def f():\n    from . import old", old="print 'so it was'")
    assert set(found) == {"", "method", "old"}


def test_a_method_built_on_one_of_ours_has_ours_in_its_closure(package):
    modules, _ = package(method="from harness.methods.llm_rec import LlmRec")
    assert "harness.methods.llm_rec" in modules
    assert "harness.api" not in modules


def test_every_method_has_its_own_code_and_not_its_neighbours():
    own = {
        name: set(plugin_closure(f"harness.methods.{name}").modules) for name in ("instruct", "llm_rec", "aloe", "dpo")
    }
    shared = {"harness.methods", "harness.methods.base_prompt", "harness.methods.nothing_to_set"}
    assert own["instruct"] == {*shared, "harness.methods.instruct"}
    assert own["llm_rec"] == {"harness.methods", "harness.methods.llm_rec"}
    assert "harness.methods.dpo" not in own["aloe"]
    assert "harness.methods.fine_tuning.trainer" in own["aloe"] & own["dpo"]
    controls = "harness.methods.controls"
    fixed = set(plugin_closure(f"{controls}.fixed_answers").modules)
    assert fixed == {*shared, controls, f"{controls}.fixed_answers"}
    assert "harness.methods.chameleon.ccs" in plugin_closure(f"{controls}.other_directions").modules


def test_a_task_has_its_prompts_metrics_and_world():
    found = set(plugin_closure("harness.tasks.lamp").modules)
    assert {f"harness.tasks.{name}" for name in ("prompts", "metrics", "lamp_records", "synthetic.world")} <= found
    assert not [name for name in found if "fetch" in name or "train" in name or "commands" in name]


def test_the_engine_is_what_computes_and_nothing_that_shows():
    found = set(engine_closure().modules)
    assert {".".join(name.split(".")[:2]) for name in found} == {"harness.api", "harness.model", "harness.running"}
    running = {"evaluation", "cell", "clock", "context", "preparation", "history", "leaks"}
    model = {"editing", "lm", "loading", "embedding", "encoding", "forward"}
    assert {f"harness.running.{name}" for name in running} | {f"harness.model.{name}" for name in model} <= found
    assert not {"harness.running.progress", "harness.running.experiment"} & found
    assert {"torch", "transformers", "lm_eval", "sentence_transformers"} <= engine_closure().libraries


def test_reading_imports_runs_none_of_them():
    code = (
        "import sys; from harness.results import source_closure as s; s.engine_closure(); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    assert printed.strip() == "False"
