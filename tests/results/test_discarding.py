"""What --fresh removes, and what it leaves alone."""

import io

import pytest
from rich.console import Console

from harness.api import HarnessError
from harness.reproduction import reproducing
from harness.reproduction.reproducing import choose, run_reproduce
from harness.results.discarding import discard
from harness.running.progress import Quiet
from harness.sweeps.points import run_points
from tests import fabricate


@pytest.fixture
def out(tmp_path):
    """A folder of two points and the cells that they share, with locks, as a sweep or an experiment leaves it."""
    for name in ("one", "two"):
        store = fabricate.filled(tmp_path / "points" / name, {"instruct": 0.5})
        (store.root / "run.lock").touch()
        (store.root / "plots").mkdir()
        (store.root / "plots" / "lamp2.png").touch()
    cell = tmp_path / store.cell_dir(store.records()[0].spec).relative_to(store.root)
    cell.mkdir(parents=True)
    for path in (cell / "cell.json", cell.with_name(f"{cell.name}.lock"), tmp_path / "sweep.json"):
        path.touch()
    return tmp_path


def test_points_and_shared_cells_are_discarded_and_nothing_beside_them(out):
    discard(out / "points", out / "cells", out / "never begun")
    assert [path.name for path in out.iterdir()] == ["sweep.json"]


@pytest.mark.parametrize(
    "foreign",
    [
        *("points/map.csv", "points/three/map.csv", "cells/lamp2/map.csv", "points", "cells"),
        *("points/one/map.csv", "points/one/plots/map.png"),
    ],
)
def test_a_sweep_refuses_to_discard_what_is_no_result_and_removes_nothing(tmp_path, out, foreign):
    path = out / foreign
    if path.is_dir():
        path.rename(out / "moved")
    path.parent.mkdir(exist_ok=True)
    path.write_text("a week of counting")
    before = sorted(out.rglob("*"))
    with pytest.raises(HarnessError, match=r"is no result of the harness.*another --out"):
        run_points([], out, Quiet(), fresh=True)
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("foreign", ["cells/map.csv", "table1/points/map.csv"])
def test_a_reproduction_refuses_to_discard_what_is_no_result(tmp_path, foreign):
    path = tmp_path / foreign
    path.parent.mkdir(parents=True)
    path.write_text("a week of counting")
    chosen = choose("table1", "tiny", [], methods="instruct", tasks="lamp3", users=2)
    with pytest.raises(HarnessError, match=r"is no result of the harness.*another --out"):
        run_reproduce(chosen, "tiny", tmp_path, Console(file=io.StringIO()), fresh=True)
    assert path.exists()


def test_a_reproduction_discards_its_experiments_and_their_results_and_no_other(out, monkeypatch):
    def stop(*arguments):
        raise HarnessError("stopped")

    monkeypatch.setattr(reproducing, "reproduce", stop)
    for name in ("table1", "table2"):
        (out / name).mkdir()
        (out / name / f"{name}.json").touch()
    (out / "points").rename(out / "table1" / "points")
    with pytest.raises(HarnessError, match="stopped"):
        run_reproduce(choose("table1", "tiny", []), "tiny", out, Console(file=io.StringIO()), fresh=True)
    assert not list((out / "table1").iterdir())
    assert (out / "table2" / "table2.json").exists()
    assert not (out / "cells").exists()
