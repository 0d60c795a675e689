"""What was asked, read from text and hashed."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.specs.resolve import build_method, resolve
from harness.specs.run_spec import (
    CellSpec,
    MethodSpec,
    RunSpec,
    join_names,
    parse_budget,
    parse_methods,
    parse_overrides,
    parse_seeds,
    parse_value,
)

CELL = {
    "task": "lamp3",
    "task_version": "1",
    "data_fingerprint": "d",
    "split": "dev",
    "method": "chameleon",
    "variant": "",
    "config": {"num_layers": 2},
    "method_source": "s",
    "model": "tiny-llama",
    "model_fingerprint": "m",
    "dtype": "float32",
    "quantization": None,
    "seed": 0,
    "budget": 60.0,
    "users": 10,
    "limit": None,
    "regime": "seen",
    "eval_history": "own",
    "history": 8,
    "selection": "pca",
    "fit_users": 100,
    "supervision": 1,
    "keep_leaks": False,
    "embedder": "tiny-llama",
}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1.5h", 5400), ("1h30m", 5400), (" 5s ", 5)]
)
def test_budgets_are_read_with_their_units(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "0s", "-5s", "10x", "1h30", "nan", "inf", "1e3"])
def test_an_unreadable_budget_is_refused_with_an_example(text):
    with pytest.raises(HarnessError, match=r"budget '.*(20m|60s|1h30m)"):
        parse_budget(text)


def test_settings_after_a_comma_belong_to_the_method_before_them():
    specs = parse_methods("instruct,chameleon:edit=personalized,num_layers=3,dpo")
    assert [spec.name for spec in specs] == ["instruct", "chameleon", "dpo"]
    assert specs[1].settings == {"edit": "personalized", "num_layers": 3}
    assert specs[1].variant == "edit=personalized,num_layers=3"


@pytest.mark.parametrize("text", ["", "a,,b", "key=value", "chameleon:edit", "chameleon:=x"])
def test_malformed_method_lists_are_refused(text):
    with pytest.raises(HarnessError):
        parse_methods(text)


def test_overrides_name_method_and_key():
    assert parse_overrides(["chameleon.num_layers=4", "dpo.beta=0.2", "chameleon.edit=both"]) == {
        "chameleon": {"num_layers": 4, "edit": "both"},
        "dpo": {"beta": 0.2},
    }


@pytest.mark.parametrize("text", ["num_layers=4", "chameleon.num_layers", "=4", "chameleon.=4"])
def test_malformed_overrides_are_refused(text):
    with pytest.raises(HarnessError):
        parse_overrides([text])


NAMES = st.text("abcdefgh_", min_size=1)
SINGLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SINGLE, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x, max_size=3), max_leaves=5)


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_a_label_names_its_method_again(settings):
    spec = MethodSpec(name="m", settings=settings)
    assert parse_methods(f"instruct,{spec.label},dpo")[1] == spec


def test_lists_and_groups_of_settings_may_be_typed_as_tables_show_them():
    asked = parse_methods('instruct,chameleon:layers=[0,2],ccs={"restarts":2,"epochs":20},edit=both,aloe')
    assert [spec.name for spec in asked] == ["instruct", "chameleon", "aloe"]
    assert asked[1].settings == {"layers": [0, 2], "ccs": {"restarts": 2, "epochs": 20}, "edit": "both"}


def test_the_digest_is_stable_and_depends_on_every_field():
    digest = CellSpec(**CELL).digest
    assert digest == CellSpec(**dict(reversed(CELL.items()))).digest
    changed = {
        "config": {"num_layers": 3},
        "users": None,
        "limit": 5,
        "quantization": "nf4",
        "regime": "unseen",
        "eval_history": "none",
        "keep_leaks": True,
    }
    for field, value in CELL.items():
        other = changed[field] if field in changed else f"{value}x" if isinstance(value, str) else value + 1
        assert CellSpec(**{**CELL, field: other}).digest != digest, field


@pytest.mark.parametrize("field", sorted(CellSpec.model_fields.keys() - CELL.keys()))
def test_fields_that_came_later_change_the_digest_only_where_they_are_set(field):
    default = CellSpec.model_fields[field].get_default(call_default_factory=True)
    assert CellSpec(**CELL, **{field: default}).digest == CellSpec(**CELL).digest
    value = {
        "marks": (0.5,),
        "likelihood": True,
        "batch_size": 8,
        "config_files": {"a": "1"},
        "libraries": {"torch": "2"},
    }.get(field, "x")
    assert CellSpec(**CELL, **{field: value}).digest != CellSpec(**CELL).digest


def test_an_unknown_field_is_an_error():
    with pytest.raises(ValueError, match="typo"):
        CellSpec(**CELL, typo=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "tiny\udcff"},
        {"methods": "instruct,chameleon:edit=\udcff"},
        {"overrides": {"instruct": {"x\udcff": 1}}},
    ],
)
def test_text_that_no_file_can_hold_is_refused(settings):
    with pytest.raises(HarnessError, match=r"[Uu]nicode|edit"):
        resolve(**{"methods": "instruct", "tasks": "lamp3", "budget": 1.0, **settings})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), [1, float("inf")], {"x": float("nan")}])
def test_inf_and_nan_in_a_cell_read_back_as_they_were_written_and_are_numbers_again(value):
    asked = CellSpec(**{**CELL, "config": {"most": value}})
    written = asked.model_dump_json()
    json.loads(written, parse_constant=pytest.fail)  # inf and nan are no JSON
    assert CellSpec.model_validate_json(written) == asked
    assert asked.digest != CellSpec(**{**CELL, "config": {"most": None}}).digest


def test_inf_in_the_settings_of_a_run_reads_back_and_reaches_the_method():
    spec = resolve("dpo:beta=Infinity", "lamp3", budget=1.0, overrides={"dpo": {"learning_rate": float("inf")}})
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec
    config = build_method(spec.methods[0], spec).config
    assert (config.beta, config.learning_rate) == (float("inf"), float("inf"))
    assert parse_methods(spec.methods[0].label)[0] == spec.methods[0]


@pytest.mark.parametrize("text", ["1.5", "-1", "4294967296", "1e3", "", "9" * 5000, [0.5], [True], [None], {}])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(HarnessError, match="Cannot read the seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("seeds", ["0,2", [0, 2], (0, 2), range(0, 3, 2), np.array([0, 2])])
def test_seeds_may_be_text_or_numbers(seeds):
    assert parse_seeds(seeds) == (0, 2)


def test_names_may_be_text_or_a_list():
    assert join_names("methods", ["rag", "chameleon:edit=personalized"]) == "rag,chameleon:edit=personalized"
    assert join_names("methods", "rag,dpo") == "rag,dpo"
    with pytest.raises(HarnessError, match="`tasks` takes names; this is 3"):
        join_names("tasks", 3)


def test_a_folder_may_be_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    spec = resolve("instruct", "lamp3", budget=1.0, data=Path("~/lamp"), model=Path("/models/one"))
    assert (spec.data, spec.model) == ("/home/ann/lamp", "/models/one")


def test_a_budget_without_an_end_is_refused():
    with pytest.raises(HarnessError, match="no end"):
        parse_budget("9" * 400)


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000])
def test_a_value_that_json_cannot_read_is_text(text):
    assert parse_value(text) == text


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused_before_any_cell(seed):
    with pytest.raises(HarnessError, match=rf"seeds\.1: .*\(got {seed}\)"):
        resolve("instruct", "lamp3", budget=1.0, seeds=(0, seed))


def test_a_refusal_of_our_own_begins_with_its_words():
    with pytest.raises(HarnessError, match=r"seeds: named twice: 0 \(got"):
        resolve("instruct", "lamp3", budget=1.0, seeds=(0, 0))


@pytest.mark.parametrize(("methods", "taken"), [("instruct,aloe", False), ("instruct,shuffled_history", True)])
def test_a_group_size_that_no_method_of_the_run_has_is_refused(methods, taken):
    if taken:
        assert resolve(methods, budget=60.0, group_size=20).group_size == 20
        return
    with pytest.raises(HarnessError, match="--group-size was given, but no method"):
        resolve(methods, budget=60.0, group_size=20)
