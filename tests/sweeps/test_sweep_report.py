"""A sweep's table, plots and files: every number is its point's, and what cannot be drawn is said."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.image import imread

from harness.sweeps.sweep_plots import heat_maps, line_plot, write_plots
from harness.sweeps.sweep_report import to_markdown, write
from harness.sweeps.sweep_spec import SweepSpec
from harness.sweeps.sweep_table import frame, shown, tables, values, varied
from tests.analysis.test_preference_likelihood import filled
from tests.fabricate import compare, row_of

SWEEP = SweepSpec(name="depth <b>", description="How *deep*?", parameters={"history": {"values": [1, 4]}})
GOOD, POOR = {"instruct": 0.3, "chameleon": 0.9}, {"instruct": 0.3, "chameleon": 0.35}


def line(results, key="history"):
    return results([({key: 0}, POOR), ({key: 4}, GOOD), ({key: 100}, GOOD)])


def grid(results, second=("last", "answer_start")):
    return results([({"history": h, "position": p}, GOOD if h else POOR) for h in (0, 4) for p in second])


def test_every_number_in_the_table_is_its_points_own(results):
    found = line(results)
    lines = frame(found)
    assert len(lines) == 3 * 2 * 2  # points, methods, metrics
    for result in found:
        for row in result.comparison.pooled:
            own = lines[(lines["point"] == result.point.slug) & (lines["method"] == row.label)].set_index("metric")
            assert own["value"].to_dict() == row.metrics
            assert {metric: (low, high) for metric, low, high in own[["low", "high"]].itertuples()} == row.interval


def test_the_best_is_marked_within_its_point_and_so_are_those_tied_with_it(results):
    ranks = frame(line(results)).query("metric == 'accuracy'").set_index(["history", "method"])["rank"]
    assert (ranks["4", "chameleon"], ranks["4", "instruct"]) == ("best", "")
    assert set(ranks["0"]) == {"best", "tied"}
    [table] = tables(line(results))
    assert [row[0] for row in table.rows][::2] == ["history=0", "history=4", "history=100"]
    scores = [row[2] for row in table.rows]
    assert sum("≈" in score for score in scores) == 1
    assert len([place for place in table.bold if place[1] == 2]) == 3


def test_methods_and_tasks_are_no_axes_of_a_plot_and_neither_is_what_stays_the_same(results):
    found = results(
        [
            ({"methods": "instruct", "seeds": [0], "history": 1}, GOOD),
            ({"methods": "chameleon", "seeds": [0], "history": 2}, GOOD),
        ]
    )
    assert varied(found) == ["history"]
    assert values(found, "seeds") == ["[0]"]


def test_one_axis_is_drawn_as_lines_with_bands_at_the_values_themselves(results):
    found = line(results)
    figure = line_plot(frame(found), "lamp2", "history", values(found, "history"), "tiny-llama")
    accuracy = figure.axes[0]
    lines = {drawn.get_label(): drawn for drawn in accuracy.get_lines()}
    assert list(lines) == ["instruct", "chameleon"]
    assert list(lines["chameleon"].get_xdata()) == [0, 4, 100]
    expected = frame(found).query("method == 'chameleon' and metric == 'accuracy'")["value"]
    assert list(lines["chameleon"].get_ydata()) == list(expected)
    assert lines["instruct"].get_linestyle() == "--"
    assert len(accuracy.collections) == 1
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == ["0", "4", "100"]


def test_values_that_are_no_numbers_stand_one_after_the_other(results):
    found = results([({"selection": name}, GOOD) for name in ("pca", "$x$", "recency")])
    figure = line_plot(frame(found), "lamp2", "selection", values(found, "selection"), "tiny-llama")
    assert list(figure.axes[0].get_lines()[0].get_xdata()) == [0, 1, 2]


def test_two_axes_are_drawn_as_a_map_per_method_with_every_score_in_its_place(results):
    found = grid(results)
    lines = frame(found).query("metric == 'accuracy'")
    keys = ["history", "position"]
    figure = heat_maps(lines, "lamp2: accuracy", keys, [values(found, key) for key in keys], "tiny-llama")
    [chameleon] = [panel for panel in figure.axes if panel.get_title() == "chameleon"]
    texts = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in chameleon.texts}
    own = lines[lines["method"] == "chameleon"].set_index(keys)["value"]
    for row, history in enumerate(("0", "4")):
        for column, position in enumerate(("last", "answer_start")):
            assert texts[row, column] == f"{own[history, position]:.3f}"
    constant = lines[lines["method"] == "instruct"]["value"].iloc[0]
    assert any(f"instruct {constant:.3f} at every point" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("beside", [{}, {"history": 0}])
def test_the_users_that_are_asked_for_may_be_an_axis(results, tmp_path, beside):
    found = results([(beside | {"users": 2}, POOR), (dict.fromkeys(beside, 4) | {"users": 4}, GOOD)])
    assert len(write(SWEEP, found, tmp_path / "out").plots) == len(beside) + 1  # lines, or a map for each metric
    assert set(frame(found)["users"]) == {"2", "4"}
    assert set(frame(found)["users_answered"]) == {40}


def test_a_list_of_points_leaves_gaps_in_the_map(results, tmp_path):
    found = results([({"history": 0, "position": "last"}, POOR), ({"history": 4, "position": "answer_start"}, GOOD)])
    paths, _ = write_plots(found, tmp_path / "plots")
    assert sorted(path.name for path in paths) == ["lamp2-accuracy.png", "lamp2-f1.png"]


@pytest.mark.parametrize(("count", "said"), [(3, r"3 axes vary \(a, b, c\)"), (0, "nothing but methods or tasks")])
def test_more_axes_than_two_or_none_are_told_and_the_table_stays(results, tmp_path, count, said):
    keys = "abc"[:count]
    found = results([(dict.fromkeys(keys, bit), GOOD) for bit in ((0, 1) if count else (0,))])
    written = write(SWEEP, found, tmp_path / "out")
    assert written.plots == []
    assert re.search(said, written.why_no_plot)
    assert said.split(r" \(")[0] in (tmp_path / "out" / "sweep.md").read_text().replace("\\", "")


def test_the_files_agree_with_each_other_and_text_from_outside_is_escaped(results, tmp_path):
    out = tmp_path / "out"
    found = line(results)
    written = write(SWEEP, found, out)
    table = pd.read_csv(out / "sweep.csv")
    rows = json.loads((out / "sweep.json").read_text())["rows"]
    assert [row["value"] for row in rows] == pytest.approx(list(table["value"]))
    assert [path.name for path in written.plots] == ["lamp2.png"]
    assert imread(written.plots[0]).shape[1] > 600
    text = to_markdown(SWEEP, found, written.plots, "")
    assert "<b>" not in text
    assert "![lamp2](plots/lamp2.png)" in text


def test_likelihoods_stand_after_the_metrics_and_their_side_effects_in_the_file_alone(results, tmp_path):
    found = line(results)
    for place, result in enumerate(found):
        measured = filled(tmp_path / f"measured-{place}")
        found[place] = replace(result, comparison=compare(measured))
    lines = frame(found)
    own = lines.query("point == @lines['point'][0] and method == 'chameleon'").set_index("metric")
    assert list(own.index) == ["accuracy", "f1", "gold_nats", "label_accuracy"]
    likelihood = row_of(found[0].comparison, "chameleon").likelihood["gold_nats"]
    nats = own.loc["gold_nats"]
    assert (nats["value"], (nats["low"], nats["high"])) == (likelihood.value, likelihood.interval)
    assert (nats["vs_instruct"], nats["p_holm"]) == (likelihood.vs_instruct.difference, likelihood.vs_instruct.p_holm)
    assert nats["rank"] == ""
    [table] = tables(found)
    assert table.columns[2:5] == ["accuracy ↑", "f1 ↑", "gold nats/token ↑"]
    assert len(line_plot(shown(lines).dropna(subset="value"), "lamp2", "history", ["0", "4", "100"], "m").axes) == 3


def test_a_method_that_failed_at_a_point_is_a_line_without_scores(results, tmp_path):
    found = line(results)
    for row in found[0].comparison.pooled:
        if row.label == "chameleon":
            row.metrics, row.interval, row.status, row.reason = {}, {}, "failed", "ValueError: no"
    lines = frame(found)
    failed = lines[lines["status"] == "failed"]
    assert (len(failed), failed["reason"].iloc[0]) == (1, "ValueError: no")
    [table] = tables(found)
    assert table.rows[1][2:4] == ["–", "–"]
    assert write_plots(found, tmp_path / "plots")[0]
