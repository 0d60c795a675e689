"""What is said of a cell that has to be computed again."""

import pytest

from harness.results.records import CellRecord
from harness.results.staleness import changes
from harness.specs.run_spec import CellSpec
from tests.specs.test_run_spec import CELL

PARTS = {
    "method_source": {"harness.methods.dpo": "1", "harness.methods.instruct": "2"},
    "engine_source": {f"harness.model.m{number}": "1" for number in range(7)},
    "model_fingerprint": {"config.json": "1", "model.safetensors": "2"},
}
MADE = {
    **CELL,
    "engine_source": "e",
    "libraries": {"torch": "2.13.0"},
    "config_files": {"general_data": "1"},
    "fit_users": None,
}


def why(parts=None, **now):
    record = CellRecord(spec=CellSpec(**MADE), parts=PARTS, status="complete")
    return changes(record, CellSpec(**{**MADE, **now}), PARTS | (parts or {}))


@pytest.mark.parametrize(
    ("now", "parts", "said"),
    [
        (
            {"method_source": "x"},
            {"method_source": {"harness.methods.dpo": "9", "harness.methods.instruct": "2"}},
            "method source harness.methods.dpo",
        ),
        (
            {"engine_source": "x"},
            {"engine_source": {}},
            "engine source harness.model.m0, harness.model.m1, harness.model.m2, harness.model.m3 and 3 more",
        ),
        (
            {"model_fingerprint": "x"},
            {"model_fingerprint": PARTS["model_fingerprint"] | {"chat_template.jinja": "1"}},
            "model files chat_template.jinja",
        ),
        ({"data_fingerprint": "x"}, {}, "data"),
        ({"libraries": {"torch": "2.14.0"}}, {}, "library torch 2.13.0 -> 2.14.0"),
        ({"libraries": {}}, {}, "library torch 2.13.0 -> none"),
        ({"config": {"num_layers": 3, "edit": "both"}}, {}, "config num_layers 2 -> 3, edit none -> both"),
        ({"config_files": {"general_data": "2"}}, {}, "content of general_data"),
        ({"dtype": "bfloat16", "batch_size": 8}, {}, "dtype float32 -> bfloat16; batch_size none -> 8"),
        ({"task_version": "2"}, {}, "task_version 1 -> 2"),
    ],
)
def test_the_component_that_changed_is_named(now, parts, said):
    assert why(parts, **now) == said


def test_a_record_of_an_earlier_schema_says_so():
    record = CellRecord(spec=CellSpec(**CELL), status="complete", schema_version=1)
    assert "another version of the harness" in changes(record, CellSpec(**MADE), PARTS)
