"""The figures: what they show, that nothing overlaps, and that they come out as files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from fabricate import compare, filled, record, samples
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from harness.reporting import plots

MANY = {"instruct": 0.3} | {f"chameleon:num_layers={number},pair_text=history": 0.3 for number in range(11)}


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def test_scores_have_a_panel_per_metric_a_line_per_method_and_instruct_as_reference(tmp_path: Path) -> None:
    figure = drawn(plots.scores(compare(filled(tmp_path, {"instruct": 0.3, "dpo": 0.9}, ("lamp3",))), "lamp3"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["better  ←  mae", "better  ←  rmse"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["instruct", "dpo"]
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == 1
    assert len(figure.axes[0].collections) == 2  # the intervals


def test_the_leaders_stand_out_by_colour_and_by_shape(tmp_path: Path) -> None:
    figure = plots.scores(compare(filled(tmp_path, {"instruct": 0.2, "dpo": 0.9, "aloe": 0.2})), "lamp2")
    points = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "D")]
    assert [point.get_marker() for point in points] == ["D", "o", "o"]
    assert len({to_hex(point.get_color()) for point in points}) == 3
    assert [point.get_markerfacecolor() == "white" for point in points] == [True, False, True]


def test_twelve_methods_keep_their_labels_apart(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, MANY))
    figure = drawn(plots.costs(comparison, "lamp2"))
    assert len(figure.axes[0].texts) == 12
    canvas = figure.bbox
    texts = [text.get_window_extent() if not text.arrow_patch else _extent(text) for text in figure.axes[0].texts]
    assert not [pair for pair in combinations(texts, 2) if pair[0].overlaps(pair[1])]
    assert all(canvas.x0 <= box.x0 and box.x1 <= canvas.x1 for box in texts)
    figure = drawn(plots.scores(comparison, "lamp2"))
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert not [pair for pair in combinations(labels, 2) if pair[0].overlaps(pair[1])]
    assert min(box.x0 for box in labels) >= 0


def _extent(annotation: object) -> object:
    from matplotlib.text import Text

    return Text.get_window_extent(annotation)  # type: ignore[arg-type]  # without the line that leads to the point


def test_fit_times_far_apart_get_a_logarithmic_axis(tmp_path: Path) -> None:
    run = filled(tmp_path, {"instruct": 0.3, "dpo": 0.9})
    assert plots.costs(compare(run), "lamp2").axes[0].get_xscale() == "linear"
    frame = samples("lamp2", 0.5)
    run.write(record("lamp2", "aloe", frame, fit_seconds=900), frame)
    assert plots.costs(compare(run), "lamp2").axes[0].get_xscale() == "symlog"


@pytest.mark.parametrize(
    ("higher", "expected"),
    [(True, [(0, 1), (2, 3), (9, 3)]), (False, [(0, 1), (9, 0), (9, 0)])],
)
def test_the_front_joins_what_nothing_cheaper_matches(higher: bool, expected: list[tuple[float, float]]) -> None:
    assert plots._front([(2, 3), (0, 1), (1, 1), (5, 2), (9, 0)], higher) == expected


def test_every_task_with_answers_gets_two_files(tmp_path: Path) -> None:
    run = filled(tmp_path, {"instruct": 0.3, "dpo": 0.9}, ("lamp2", "lamp3"))
    for cell in run.records():
        if cell.spec.task == "lamp3":
            run.write(cell.model_copy(update={"status": "failed"}), None)
    paths = plots.write_plots(compare(run), tmp_path / "plots")
    assert [path.name for path in paths] == ["lamp2.png", "lamp2-cost.png"]
    assert all(imread(path).shape[0] > 200 for path in paths)


def test_a_single_method_and_a_single_user_can_be_drawn(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"dpo": 0.5}, users=1))
    assert len(plots.write_plots(comparison, tmp_path / "plots")) == 2


def test_names_from_outside_are_no_formulas(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.3, "dpo:note=$x^{$": 0.5}))
    assert len(plots.write_plots(comparison, tmp_path / "plots")) == 2
