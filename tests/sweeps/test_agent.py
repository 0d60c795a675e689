"""One file drives both `harness sweep` and W&B: the commands are rendered by W&B's own code."""

import json
import os
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from harness.api import HarnessError
from harness.registry import TASKS
from harness.sweeps.planned_cells import distinct_cells
from harness.sweeps.sweep_spec import expand, read_sweep, run_spec
from harness.sweeps.sweeping import read_arguments
from tests.forking import command_line, forked
from tests.wandb_files import records, wait_for_exit

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "sweeps").glob("*.yaml"))
AWKWARD = """
command: [harness, run, "${args}"]
program: harness
parameters:
  methods: {value: [instruct, "chameleon:edit=personalized,num_layers=3"]}
  tasks: {value: [lamp2, lamp3]}
  seeds: {value: [0, 1]}
  budget: {values: [30, 1h30m]}
  group_size: {value: null}
  keep_leaks: {value: true}
  selection: {values: [pca, recency]}
  chameleon.layers: {values: [[1], [0, 2]]}
  point: {values: [{history: 0, data: "a, b=c"}, {history: 4}]}
"""


def rendered(path):
    """What an agent would run for each point. W&B's server makes the grid; here `expand` does."""
    loaded, sweep = yaml.safe_load(path.read_text()), read_sweep(path)
    fixed = {key: parameter.value for key, parameter in sweep.parameters.items() if not parameter.values}
    for point in expand(sweep):
        nested = {key: value for key, value in point.values.items() if key in sweep.axes}
        rest = {key: value for key, value in point.values.items() if key not in nested}
        settings = {**fixed, **nested, **({"point": rest} if rest else {})}
        arguments = {"args": {key: {"value": value} for key, value in settings.items()}}
        command = create_sweep_command(list(loaded["command"]))
        filled = create_sweep_command_args(arguments)["args"]
        yield point, arguments["args"], [part for c in command for part in (filled if c == "${args}" else [c])]


@pytest.mark.parametrize("path", [*EXAMPLES, "awkward"], ids=lambda path: getattr(path, "stem", path))
def test_the_command_of_every_point_asks_for_what_the_sweep_asks_for(path, tmp_path):
    if path == "awkward":
        path = tmp_path / "awkward.yaml"
        path.write_text(AWKWARD)
    count = 0
    for point, _, (program, command, *arguments) in rendered(path):
        assert (program, command) == ("harness", "run")
        assert run_spec(read_arguments(arguments)) == point.spec
        count += 1
    assert count == len(expand(read_sweep(path))) > 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_metric_of_an_example_is_one_that_its_runs_log(path):
    sweep = read_sweep(path)
    [spec, *_] = [point.spec for point in expand(sweep)]
    task, label, metric = sweep.metric["name"].split("/")
    assert label in [method.label for method in spec.methods]
    assert task in spec.tasks
    directions = {metric.name: metric.higher_is_better for metric in TASKS.get(task)().metrics}
    assert sweep.metric["goal"] == ("maximize" if directions[metric] else "minimize")


@pytest.mark.parametrize("argument", ["history=4", "--history", "4", "--=4"])
def test_an_argument_that_is_no_setting_is_refused(argument):
    with pytest.raises(HarnessError, match="--key=value"):
        read_arguments([argument])


def test_a_rendered_command_runs_and_logs_into_the_run_of_the_sweep(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(
        "name: two\nprogram: harness\ncommand: [harness, run, '${args}']\n"
        "parameters:\n  methods: {value: instruct}\n  tasks: {value: lamp3}\n  users: {value: 2}\n"
        "  history: {values: [0, 2]}\n"
    )
    [_, (point, config, command)] = rendered(file)
    save_config_file_from_dict(str(tmp_path / "wandb" / "sweep-abc" / "config-run1.yaml"), config)
    agent = {
        "WANDB_SWEEP_ID": "abc",
        "WANDB_RUN_ID": "run1",
        "WANDB_SWEEP_PARAM_PATH": os.path.join("wandb", "sweep-abc", "config-run1.yaml"),
        "WANDB_MODE": "offline",
    }
    with forked(command_line, *command[1:], cwd=tmp_path, environment=agent) as process:
        assert process.wait(240) == 0, process.stderr
    [folder] = (tmp_path / "runs" / "points" / "points").iterdir()
    comparison = json.loads((folder / "comparison.json").read_text())
    assert comparison["spec"]["history"] == point.spec.history == 2
    wait_for_exit(folder)
    [run] = records(folder, "run")
    assert (run.sweep_id, run.run_id) == ("abc", "run1")
    summary = {
        i.key or "/".join(i.nested_key): json.loads(i.value_json) for s in records(folder, "summary") for i in s.update
    }
    [row] = comparison["pooled"]
    assert summary["lamp3/instruct/mae"] == row["metrics"]["mae"]


def test_cells_that_points_share_are_planned_once(tmp_path):
    layers = next(path for path in EXAMPLES if path.stem == "chameleon-layers")
    points = expand(read_sweep(layers))
    tasks = len(points[0].spec.tasks)
    assert len(distinct_cells(points)) == tasks * (1 + len(points))
    assert sum(distinct_cells(points).values()) == tasks * (1 + len(points)) * points[0].spec.budget


def test_cells_on_two_data_sets_are_two(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("parameters: {methods: {value: instruct}, tasks: {value: lamp3}, data: {values: [here, there]}}")
    assert len(distinct_cells(expand(read_sweep(file)))) == 2
