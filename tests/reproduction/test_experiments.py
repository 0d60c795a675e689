"""The experiments' files: what each preset runs, and what they share."""

import pytest

from harness.api import HarnessError
from harness.registry import EXPERIMENTS, METHODS
from harness.reproduction.experiment_spec import Claim, common, experiments
from harness.reproduction.experiments import _notes
from harness.reproduction.forecast import plans
from harness.reproduction.reported import reported
from harness.specs.resolve import expand_methods
from tests import fabricate

ORDER = ["table1", "table2", "table3", "figure3", "figure4", "figure5"]
# points, distinct cells, cells that no earlier experiment has, for one seed
TINY = {
    "table1": (1, 15, 15),
    "table2": (1, 9, 9),
    "table3": (1, 12, 6),  # both edits, and none, are Table 1's
    "figure3": (6, 21, 21),  # instruct is the same for all six sizes
    "figure4": (4, 16, 16),
    "figure5": (5, 30, 24),  # 8 items are Table 1's
}
PAPER = {**TINY, "table1": (1, 75, 75), "table3": (1, 8, 4), "figure3": (6, 14, 14), "figure5": (5, 20, 16)}


def chosen(preset, **given):
    return [(spec, spec.points(preset, **given)) for spec in experiments("all")]


@pytest.mark.parametrize(
    ("preset", "given", "counts"),
    [
        ("tiny", {}, TINY),
        ("paper-mistral", {"data": "lamp", "seeds": (0,)}, PAPER),
        ("paper-flan-t5", {"data": "lamp", "seeds": (0,)}, PAPER),
    ],
)
def test_each_preset_expands_to_its_cells_and_shares_what_two_experiments_need(preset, given, counts):
    found = {plan.name: (plan.points, plan.cells, plan.new) for plan in plans(chosen(preset, **given))}
    assert list(found) == ORDER
    assert found == counts


def test_a_second_model_and_more_seeds_multiply_the_cells():
    spec = experiments("table1")[0]
    both = plans([(spec, spec.points("tiny", ["tiny-llama", "other"], seeds=(0, 1, 2)))])[0]
    assert (both.points, both.cells) == (2, 2 * 3 * 15)


def test_the_paper_s_settings_are_the_paper_s():
    points = {spec.name: [point.spec for point in own] for spec, own in chosen("paper-mistral", data="lamp")}
    assert [spec.budget / 60 for spec in points["figure4"]] == [10, 20, 30, 40]
    assert [spec.history for spec in points["figure5"]] == [5, 10, 15, 20, 25]
    assert [spec.overrides["chameleon"]["group_size"] for spec in points["figure3"]] == [1, 20, 40, 60, 80, 100]
    assert len({spec.supervision for spec in points["figure3"]}) == 1
    assert [(spec.regime, spec.eval_history) for spec in points["table2"]] == [("unseen", "none")]
    assert all(spec.regime == "seen" for name in ORDER if name != "table2" for spec in points[name])


@pytest.mark.parametrize("preset", ["small", "paper-mistral", "paper-flan-t5"])
def test_real_models_answer_with_likelihoods_and_have_a_table_of_every_method(preset):
    points = {spec.name: [point.spec for point in own] for spec, own in chosen(preset, data="lamp")}
    assert all(spec.likelihood for own in points.values() for spec in own)
    [table] = points["table1"]
    assert {method.name for method in expand_methods("all")} <= {method.name for method in table.methods}


def test_the_tiny_preset_scales_minutes_to_seconds_and_says_so():
    spec = experiments("figure4")[0]
    assert [point.spec.budget for point in spec.points("tiny")] == [10, 20, 30, 40]
    assert "Seconds stand for minutes" in spec.overlay("tiny").note
    assert all(one.overlay("tiny").note for one in experiments("all"))


def test_a_paper_preset_without_data_is_refused():
    with pytest.raises(HarnessError, match="--data"):
        experiments("table1")[0].points("paper-mistral")


def test_an_unknown_experiment_names_the_known_ones():
    with pytest.raises(HarnessError, match="Did you mean table1"):
        experiments("table11")


def test_claims_speak_of_methods_that_the_experiment_runs_and_every_metric_has_a_name():
    for spec in experiments("all"):
        run = {method.label for point in spec.points("tiny") for method in point.spec.methods}
        assert {column.method for column in spec.layout.methods} <= run
        for claim in spec.claims:
            assert {claim.better, claim.trend, *claim.than} - {""} <= run
    assert sorted(ORDER) == sorted(EXPERIMENTS.names())
    assert {key[2] for key in reported().values} <= set(common().names)
    assert {key[3] for key in reported().values} == set(common().counterparts.values())
    assert {key[4].partition(":")[0] for key in reported().values} <= set(METHODS.names())


@pytest.mark.parametrize(
    "fields", [{}, {"better": "a"}, {"trend": "a", "better": "a", "than": ("b",)}, {"trend": "a", "at": 1}]
)
def test_a_claim_that_compares_nothing_is_refused(fields):
    with pytest.raises(ValueError, match="give"):
        Claim(quote="q", source="s", **fields)


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ("failed", "RuntimeError: no pairs", "failed: RuntimeError: no pairs."),
        ("interrupted", "", "interrupted."),
        ("overran", "in dpo", "overran took 70.0 s of 60 s: in dpo."),
    ],
)
def test_a_note_on_a_cell_that_went_wrong_is_a_sentence(status, reason, said):
    record = fabricate.record("lamp2", "dpo", None, 0, status, 70.0, reason)
    assert _notes([], [record])[1:] == [f"dpo on lamp2, seed 0, budget 60 s: {said}"]
