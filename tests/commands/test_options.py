"""Every option of `harness compare` and `harness reproduce` changes what it names, and nothing else."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands import compare
from harness.commands.app import app
from harness.registry import preset
from harness.reproduction import reproducing
from harness.specs.run_spec import RunSpec

METHODS = ["--methods", "instruct,chameleon"]
TWO = [{"name": "instruct", "settings": {}}, {"name": "rag", "settings": {"k": 2}}]
PAPER = {key: value for key, value in preset("paper-mistral").items() if key in {*RunSpec.model_fields} - {"methods"}}
PAPER |= {"tasks": PAPER["tasks"].split(","), "preset": "paper-mistral"}
COMPARE = {
    "methods": (["--methods", "instruct,rag:k=2"], {"methods": TWO}),
    "budget": (["--budget", "1h30m"], {"budget": 5400.0}),
    "tasks": (["--tasks", "lamp3"], {"tasks": ["lamp3"]}),
    "preset_name": (["--preset", "paper-mistral"], PAPER),
    "model": (["--model", "tiny-t5"], {"model": "tiny-t5"}),
    "data": (["--data", "somewhere"], {"data": "somewhere"}),
    "split": (["--split", "train"], {"split": "train"}),
    "users": (["--users", "7"], {"users": 7}),
    "limit": (["--limit", "8"], {"limit": 8}),
    "regime": (["--regime", "unseen"], {"regime": "unseen", "eval_history": "none"}),
    "eval_history": (["--eval-history", "none"], {"eval_history": "none"}),
    "group_size": (["--group-size", "9"], {"group_size": 9}),
    "history": (["--history", "3"], {"history": 3}),
    "selection": (["--selection", "bm25"], {"selection": "bm25"}),
    "supervision": (["--supervision", "4"], {"supervision": 4}),
    "keep_leaks": (["--keep-leaks"], {"keep_leaks": True}),
    "seeds": (["--seeds", "1,5"], {"seeds": [1, 5]}),
    "marks": (["--marks", "0.25,0.5"], {"marks": [0.25, 0.5]}),
    "no_likelihood": (["--no-likelihood"], {"likelihood": False}),
    "settings": (
        ["--set", "chameleon.num_layers=3", "--set", "chameleon.edit=neutral"],
        {"chameleon.num_layers": 3, "chameleon.edit": "neutral"},
    ),
    "device": (["--device", "cuda:1"], {"device": "cuda:1"}),
    "dtype": (["--dtype", "float16"], {"dtype": "float16"}),
    "quantization": (["--quantization", "nf4"], {"quantization": "nf4"}),
    "batch_size": (["--batch-size", "5"], {"batch_size": 5}),
    "out": (["--out", "there"], {"out": Path("there")}),
    "wandb": (["--wandb", "online"], {"wandb": "online"}),
    "executor": (["--executor", "ray"], {"executor": "ray"}),
    "save_fits": (["--save-fits"], {"save_fits": True}),
    "dry_run": (["--dry-run"], {"dry_run": True}),
    "fresh": (["--fresh"], {"fresh": True}),
}
REPRODUCE = {
    "models": (["--models", "tiny-t5"], {"model": "tiny-t5"}),
    "tasks": (["--tasks", "lamp3"], {"tasks": ["lamp3"]}),
    "users": (["--users", "7"], {"users": 7}),
    "budget": (["--budget", "150s"], {"budget": 150.0}),
    "seeds": (["--seeds", "1,5"], {"seeds": [1, 5]}),
    "settings": (["--set", "chameleon.num_layers=3"], {"chameleon.num_layers": 3}),
    "device": (["--device", "cuda:1"], {"device": "cuda:1"}),
    "out": (["--out", "there"], {"out": Path("there")}),
    "wandb": (["--wandb", "online"], {"wandb": "online"}),
    "docs": (["--docs", "pages"], {"docs": Path("pages")}),
    "rebuild": (["--rebuild"], {"compute": False}),
    "fresh": (["--fresh"], {"fresh": True}),
}
# Their effect is no field: what they ask for is another experiment, other data, nothing at all, or a package.
ELSEWHERE = {"name", "preset_name", "data", "dry_run", "executor"}


def parameters(command):
    return typer.main.get_command(app).commands[command].params


def options(command):
    return {parameter.name for parameter in parameters(command)}


def fields(spec):
    """A specification's fields, what is set of methods each by itself."""
    found = spec.model_dump(mode="json")
    own = {
        f"{method}.{key}": value
        for method, settings in found.pop("overrides").items()
        for key, value in settings.items()
    }
    return {**found, **own}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@cache
def compared(*arguments):
    """What `harness compare` hands on for these options: the fields of the specification, and how to run it."""
    given = handed_on(compare, "_run", "compare", *METHODS, *arguments)
    return {**fields(given.pop("spec")), **given}


@cache
def reproduced(*arguments):
    """What `harness reproduce figure3` hands on: the fields of every run's specification, and how to run them."""
    given = handed_on(reproducing, "run_reproduce", "reproduce", "figure3", *arguments)
    [(_, points)] = given.pop("chosen")
    return [{**fields(point.spec), **given} for point in points]


def handed_on(module, function, *command):
    """The arguments by which a command calls a function that is to do the work, less what all calls have."""
    given, signature = {}, inspect.signature(getattr(module, function))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, lambda *a: given.update(signature.bind(*a).arguments) or 0)
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.exception
    return {name: value for name, value in given.items() if name not in ("call", "console")}


@pytest.mark.parametrize("option", COMPARE)
def test_an_option_of_compare_changes_what_it_names_and_nothing_else(option):
    arguments, expected = COMPARE[option]
    plain, found = compared(), compared(*arguments)
    assert found == {**plain, **expected}
    assert found != plain


def test_every_option_of_compare_has_a_case():
    assert options("compare") == set(COMPARE)


def test_the_help_of_compare_says_what_counts_where_an_option_is_not_given():
    silent = {
        parameter.name
        for parameter in parameters("compare")
        if parameter.default is None and not re.search(r"default|preset's", parameter.help)
    }
    assert silent == {"limit", "marks", "settings", "quantization"}  # nothing of the kind is done


@pytest.mark.parametrize("marks", ["soon", "", "0.25,", "0.25;0.5"])
def test_marks_that_are_no_numbers_are_refused_with_an_example(marks):
    result = CliRunner().invoke(app, ["compare", *METHODS, "--marks", marks])
    assert isinstance(result.exception, HarnessError)
    assert str(result.exception) == f"Cannot read --marks '{marks}'. Write shares of the budget: 0.25,0.5,0.75."


@pytest.mark.parametrize("marks", ["0,0.5", "0.5,1", "0.5,0.25", "0.5,0.5", "nan"])
def test_marks_that_are_no_rising_shares_are_refused(marks):
    result = CliRunner().invoke(app, ["compare", *METHODS, "--marks", marks])
    assert isinstance(result.exception, HarnessError)
    assert "marks are rising shares of the budget between 0 and 1" in str(result.exception)


@pytest.mark.parametrize("option", REPRODUCE)
def test_an_option_of_reproduce_changes_what_it_names_in_every_run_and_nothing_else(option):
    arguments, expected = REPRODUCE[option]
    plain, found = reproduced(), reproduced(*arguments)
    assert found == [{**point, **expected} for point in plain]
    assert found != plain


def test_every_option_of_reproduce_has_a_case():
    assert options("reproduce") == set(REPRODUCE) | ELSEWHERE
