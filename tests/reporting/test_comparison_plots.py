"""The figures: what they show, that nothing overlaps, and that they come out as files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from harness.reporting import comparison_plots as plots
from tests.fabricate import compare, filled, record, samples

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


def test_the_front_joins_the_rows_that_are_on_it_and_is_drawn_on_to_the_dearest(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.2, "dpo": 0.9, "aloe": 0.3}))
    axes = plots.costs(comparison, "lamp2").axes[0]
    (front,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    marked = [(row.fit_seconds, row.metrics["accuracy"]) for row in comparison.pooled if row.on_front]
    assert [row.label for row in comparison.pooled if row.on_front] == ["instruct", "dpo"]
    assert list(zip(*front.get_data(), strict=True)) == [*marked, (14.0, marked[-1][1])]


def test_users_are_shown_by_score_and_by_gain_with_every_user_in_a_bar(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.3, "dpo": 0.9}))
    by_score, by_gain = drawn(plots.users(comparison, "lamp2")).axes
    values = {user.value for user in comparison.users if user.method == "dpo"}
    bars = [bar for bar in by_score.patches if abs(bar.get_y() - 1.4) < 1e-9]
    assert {round(bar.get_x() + bar.get_width() / 2, 9) for bar in bars} == values
    row = next(row for row in comparison.pooled if row.label == "dpo")
    shares = [f"{100 * (share or 0):.3g}%" for share in (row.regret_rate, row.better_rate)]
    assert [text.get_text() for text in by_gain.texts] == shares
    assert not [bar for bar in by_gain.patches if abs(bar.get_y() - 0.4) < 1e-9]  # instruct gains nothing on itself


def test_without_instruct_users_are_shown_by_score_only(tmp_path: Path) -> None:
    assert len(plots.users(compare(filled(tmp_path, {"dpo": 0.9})), "lamp2").axes) == 1


def test_histories_have_a_panel_per_bin_that_is_not_empty(tmp_path: Path) -> None:
    figure = drawn(plots.history(compare(filled(tmp_path, {"instruct": 0.3, "dpo": 0.9})), "lamp2"))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [
        *("no items", "1 item", "2–4 items", "9–16 items", "17–64 items", "65+ items"),
    ]
    assert {len(axes.collections) for axes in figure.axes} == {2}  # the intervals


def test_every_task_with_answers_gets_its_files(tmp_path: Path) -> None:
    run = filled(tmp_path, {"instruct": 0.3, "dpo": 0.9}, ("lamp2", "lamp3"))
    for cell in run.records():
        if cell.spec.task == "lamp3":
            run.write(cell.model_copy(update={"status": "failed"}), None)
    paths = plots.write_plots(compare(run), tmp_path / "plots")
    assert [path.name for path in paths] == [f"lamp2{end}.png" for end in ("", "-cost", "-users", "-history")]
    assert all(imread(path).shape[0] > 200 for path in paths)


def test_a_single_method_and_a_single_user_can_be_drawn(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"dpo": 0.5}, users=1))
    paths = plots.write_plots(comparison, tmp_path / "plots")
    assert [path.name for path in paths] == ["lamp2.png", "lamp2-cost.png", "lamp2-users.png"]


def test_names_from_outside_are_no_formulas(tmp_path: Path) -> None:
    comparison = compare(filled(tmp_path, {"instruct": 0.3, "dpo:note=$x^{$": 0.5}))
    assert len(plots.write_plots(comparison, tmp_path / "plots")) == 4
