from pathlib import Path

import pytest

from harness.api import HarnessError
from harness.sweeps.sweep_spec import expand, read_sweep


@pytest.fixture
def sweep_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "layers.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


GRID = """
method: grid
parameters:
  methods: {value: "instruct,chameleon"}
  tasks: {value: [lamp2, lamp7]}
  budget: {value: 30s}
  seeds: {value: [0, 1]}
  history: {values: [2, 4]}
  chameleon.num_layers: {values: [1, 2, 3]}
"""


def test_a_grid_has_every_combination_with_the_last_axis_fastest(sweep_file):
    points = expand(read_sweep(sweep_file(GRID)))
    assert [tuple(point.values.values()) for point in points] == [(2, 1), (2, 2), (2, 3), (4, 1), (4, 2), (4, 3)]
    spec = points[-1].spec
    assert (spec.history, spec.overrides, spec.budget) == (4, {"chameleon": {"num_layers": 3}}, 30.0)
    assert (spec.tasks, spec.seeds) == (("lamp2", "lamp7"), (0, 1))
    assert points[0].label == "history=2, chameleon.num_layers=1"


def test_a_list_has_exactly_the_points_it_names(sweep_file):
    text = """
parameters:
  methods: {value: instruct}
  point:
    values:
      - {history: 0, tasks: lamp3}
      - {history: 4}
"""
    points = expand(read_sweep(sweep_file(text)))
    assert [point.values for point in points] == [{"history": 0, "tasks": "lamp3"}, {"history": 4}]


def test_slugs_are_folder_names_that_tell_points_apart(sweep_file):
    text = """
parameters:
  methods: {values: ["instruct,chameleon:edit=../../both", "instruct,chameleon:edit=both"]}
"""
    with pytest.raises(HarnessError, match="edit"):
        expand(read_sweep(sweep_file(text)))
    slugs = [point.slug for point in expand(read_sweep(sweep_file(GRID)))]
    assert len(set(slugs)) == len(slugs)
    assert all("/" not in slug and slug == slug.strip(".") for slug in slugs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "no sweep"),
        ("parameters: {history: {values: []}}", "at least one entry"),
        ("parameters: {history: {value: 1, values: [2]}}", "either `value`"),
        ("parameters: {history: 2}", r"parameters.history: give either `value`, .* as in {value: 4}"),
        ("parameters: {history: {valeus: [2]}}", "Did you mean values"),
        ("parameter: {history: {value: 2}}", "Did you mean parameters"),
        ("parameters: {histroy: {values: [2]}}", "Did you mean history"),
        ("parameters: {overrides: {value: {}}}", "Unknown setting 'overrides'.* Known: METHOD.KEY, batch_size"),
        ("parameters: {history: {values: [-2]}}", "greater than or equal to 0"),
        ("parameters: {budget: {value: soon}}", "Cannot read the budget"),
        ("parameters: {seeds: {value: zero}}", "Cannot read the seeds"),
        ("parameters: {point: {values: [3]}}", "must map settings"),
        ("method: bayes\nparameters: {history: {value: 2}}", "grid"),
        ("parameters: {chameleon.num_layer: {values: [2]}}", "Did you mean num_layers"),
        ("parameters: [", "Cannot read the sweep"),
    ],
)
def test_a_broken_file_is_one_clear_error(sweep_file, text, message):
    with pytest.raises(HarnessError, match=message):
        expand(read_sweep(sweep_file(text)))
