"""The anytime plot: checkpoints are hollow, called not annealed, and stand where their answer was ready."""

import pytest
from matplotlib.image import imread

from harness.reporting.anytime_plots import figure, read_fits
from harness.reporting.comparison_report import write
from harness.results.records import RunRecord
from harness.results.writing import write_text
from harness.running.checkpoints import Anytime, Missing, Point
from harness.running.checkpoints import write as write_points
from tests import fabricate


@pytest.fixture
def store(tmp_path):
    """Instruct and dpo; dpo has two checkpoints before its end and one mark without any."""
    store = fabricate.filled(tmp_path / "run", {"instruct": 0.3, "dpo": 0.9})
    spec = store.read_run().spec.model_copy(update={"marks": (0.1, 0.2, 0.9)})
    write_text(store.root / "run.json", RunRecord(spec=spec, hardware={}).model_dump_json())
    for record in store.records():
        whole = Point(mark=None, seconds=7.0, making=0.0, samples_used=9, metrics=record.metrics, annealed=True)
        early = [
            Point(mark=6.0 * n, seconds=2.0 * n, making=0.5, samples_used=n, metrics={"accuracy": 0.1 * n, "f1": 0.2})
            for n in (1, 2)
        ]
        gone = [Missing(mark=54.0, reason="the fit ended after 7.0 s")]
        dpo = record.spec.method == "dpo"
        write_points(store, record.spec, Anytime(points=[*early, whole] if dpo else [whole], missing=gone))
    return store


def test_checkpoints_are_hollow_and_stand_where_their_answer_was_ready(store):
    drawn = figure(fabricate.compare(store), "lamp2", list(read_fits(store, "lamp2")))
    accuracy = drawn.axes[0]
    marked = [line for line in accuracy.get_lines() if line.get_marker() not in ("None", None)]
    hollow = [line for line in marked if line.get_markerfacecolor() == "white"]
    filled = [line for line in marked if line.get_markerfacecolor() != "white"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in hollow] == [([2.5, 4.5], [0.1, 0.2])]
    assert [list(line.get_xdata()) for line in filled] == [[7.0]]
    assert any(line.get_linestyle() == "--" and line.get_label() == "instruct" for line in accuracy.get_lines())
    assert any("not annealed" in text.get_text() for text in drawn.texts)


def test_the_report_shows_the_plot_and_the_marks_without_a_checkpoint(store):
    paths = write(fabricate.compare(store), store.root)
    [plot] = [path for path in paths if path.name == "lamp2-anytime.png"]
    assert imread(plot).shape[1] > 600
    text = (store.root / "comparison.md").read_text()
    assert "](plots/lamp2-anytime.png)" in text
    assert "- dpo, seed 0: none at 54 s, the fit ended after 7.0 s" in text
    assert "not annealed" in text


def test_a_damaged_file_of_checkpoints_costs_the_report_its_fit_alone(store):
    dpo = next(record for record in store.records() if record.spec.method == "dpo")
    (store.cell_dir(dpo.spec) / "anytime.json").write_bytes(b'{"points": [\xff')
    assert [fit.label for fit in read_fits(store, "lamp2")] == ["instruct"]
    assert "lamp2-anytime.png" in {path.name for path in write(fabricate.compare(store), store.root)}


@pytest.mark.filterwarnings("error:--fresh has left alone")
def test_fresh_discards_every_plot_that_a_run_draws(store):
    write(fabricate.compare(store), store.root)
    assert len(list((store.root / "plots").iterdir())) == 5
    store.open(store.read_run().spec, {}, fresh=True)
    assert not (store.root / "plots").exists()


def test_checkpoints_stay_out_of_the_comparison(store):
    comparison = fabricate.compare(store)
    assert {row.label: row.metrics["accuracy"] for row in comparison.pooled}["dpo"] > 0.5
    assert len(comparison.rows) == 2


def test_a_run_without_marks_has_no_anytime_plot(tmp_path):
    store = fabricate.filled(tmp_path / "plain", {"instruct": 0.3, "dpo": 0.9})
    assert not [path for path in write(fabricate.compare(store), store.root) if "anytime" in path.name]
    assert "nytime" not in (store.root / "comparison.md").read_text()
