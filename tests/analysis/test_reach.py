"""After how many seconds a fit was a tenth better than instruct for good, by its checkpoints and by its end."""

import shutil

import pytest

from harness.running.checkpoints import Anytime, Point
from tests.fabricate import compare, filled, record, row_of, samples


def point(seconds, making, accuracy, annealed=False):
    metrics = {"accuracy": accuracy, "f1": accuracy}
    mark = None if annealed else seconds
    return Point(mark=mark, seconds=seconds, making=making, samples_used=1, metrics=metrics, annealed=annealed)


def with_points(store, label, *points):
    """The store with a cell that was evaluated on its way as well."""
    (record,) = [record for record in store.records() if record.spec.label == label]
    frame = store.samples(record.spec)
    shutil.rmtree(store.cell_dir(record.spec))
    record.spec = record.spec.model_copy(update={"marks": (0.5,)})
    store.write(record, frame)
    text = Anytime(points=list(points), missing=[]).model_dump_json()
    (store.cell_dir(record.spec) / "anytime.json").write_text(text)


def test_it_is_the_first_checkpoint_that_was_ready_and_good_enough(tmp_path):
    store = filled(tmp_path, {"instruct": 0.5, "dpo": 0.9})
    base = row_of(compare(store), "instruct").metrics["accuracy"]
    points = [point(1, 0, 1.09 * base), point(2, 0.5, 1.11 * base), point(4, 0, 1.2 * base)]
    with_points(store, "dpo", *points)
    assert row_of(compare(store), "dpo").reach_seconds == 2.5


def test_without_checkpoints_the_end_of_the_fit_is_what_is_known(tmp_path):
    comparison = compare(filled(tmp_path, {"instruct": 0.2, "dpo": 0.9, "chameleon": 0.2}, ("lamp2", "lamp3")))
    for task in ("lamp2", "lamp3"):
        assert row_of(comparison, "dpo", task).reach_seconds == row_of(comparison, "dpo", task).fit_seconds == 7
        assert row_of(comparison, "instruct", task).reach_seconds is None
    worse = row_of(comparison, "chameleon")
    assert worse.metrics["accuracy"] < 1.1 * row_of(comparison, "instruct").metrics["accuracy"]
    assert worse.reach_seconds is None


def test_what_is_lost_again_was_not_reached(tmp_path):
    store = filled(tmp_path, {"instruct": 0.5, "dpo": 0.9})
    base = row_of(compare(store), "instruct").metrics["accuracy"]
    points = [point(1, 0, 1.2 * base), point(2, 0, base), point(4, 0, 1.2 * base), point(5, 0, 1.3 * base)]
    with_points(store, "dpo", *points)
    assert row_of(compare(store), "dpo").reach_seconds == 4


def test_a_gain_that_is_not_beyond_chance_at_the_end_was_not_reached(tmp_path):
    found = row_of(compare(filled(tmp_path, {"instruct": 0.2, "dpo": 0.9}, users=4)), "dpo")
    assert found.vs_instruct["accuracy"].difference > 0.1
    assert found.reach_seconds is None


@pytest.mark.parametrize(("quality", "unread", "known"), [(0.2, 0.4, True), (0.2, 0.6, False), (0.0, 0.0, False)])
def test_a_score_of_nothing_or_of_answers_that_could_not_be_read_is_no_yardstick(tmp_path, quality, unread, known):
    store, frame = filled(tmp_path, {"instruct": 0.2, "dpo": 0.9}), samples("lamp2", quality)
    if not quality:
        frame["prediction"] = "none"
    store.write(record("lamp2", "instruct", frame).model_copy(update={"parse_failures": unread}), frame)
    found = row_of(compare(store), "dpo")
    assert found.vs_instruct["accuracy"].p_holm < 0.05
    assert (found.reach_seconds is not None) == known
