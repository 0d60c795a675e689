import pytest
from rich.console import Console

from harness.api import HarnessError
from harness.results.locking import alone
from harness.results.store import Store
from harness.running.progress import Quiet
from harness.sweeps.points import run_points
from harness.sweeps.sweep_spec import SweepSpec, expand
from harness.sweeps.sweeping import run_one, run_sweep


class Counting(Quiet):
    def __init__(self):
        self.computed, self.reused = [], []

    def finished(self, record, reused):
        (self.reused if reused else self.computed).append((record.spec.label, record.spec.config.get("num_layers")))


def test_points_compute_what_they_share_once_and_a_second_call_computes_nothing(tmp_path):
    parameters = {
        "methods": {"value": "instruct,chameleon"},
        "tasks": {"value": "lamp2"},
        "users": {"value": 3},
        "chameleon.ccs": {"value": {"restarts": 2, "epochs": 20}},
        "chameleon.num_layers": {"values": [1, 2]},
    }
    points = expand(SweepSpec(name="layers", parameters=parameters))
    first, second = Counting(), Counting()
    results = run_points(points, tmp_path, first)
    assert first.computed == [("instruct", None), ("chameleon", 1), ("chameleon", 2)]
    assert first.reused == [("instruct", None)]
    run_points(points, tmp_path, second)
    assert second.computed == []
    assert [len(Store(result.folder).records()) for result in results] == [2, 2]
    assert all((result.folder / "comparison.json").exists() for result in results)


def test_a_sweep_keeps_out_of_the_folder_of_a_comparison(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(HarnessError, match="holds a comparison"):
        run_sweep(SweepSpec(name="layers", parameters={}), [], tmp_path, "disabled", True, Console(quiet=True))
    with pytest.raises(HarnessError, match="holds a comparison"):
        run_one({"methods": "instruct", "tasks": "lamp2"}, tmp_path, "disabled", Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_fresh_is_refused_while_harness_run_is_at_work_on_a_point_of_the_folder(tmp_path):
    folder = tmp_path / "points" / "asked-by-an-agent"
    with alone(folder):
        (folder / "run.json").write_text("{}")
        with pytest.raises(HarnessError, match="asked-by-an-agent is in use by another run"):
            run_points([], tmp_path, Quiet(), fresh=True)
    assert (folder / "run.json").exists()
    run_points([], tmp_path, Quiet(), fresh=True)
    assert not folder.exists()
