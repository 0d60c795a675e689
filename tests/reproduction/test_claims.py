"""The rule by which claims are judged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from harness.reporting.comparison_report import build
from harness.reproduction.answer import short_verdicts
from harness.reproduction.claims import combined, decide, page_trend, verdict
from harness.reproduction.experiment_spec import common
from harness.reproduction.experiments import assemble
from harness.reproduction.page import joined
from harness.reproduction.reported import reported
from harness.reproduction.result import ClaimTest
from harness.reproduction.verdicts import sentence
from harness.results.store import Store
from harness.sweeps.point_result import PointResult
from harness.sweeps.sweep_spec import Point
from tests import fabricate
from tests.reproduction.made_up import experiment, point

GAINS, SHARES = st.floats(-1, 1), st.floats(0, 1)
VERDICTS = st.sampled_from(["supported", "not supported", "undecided"])


@given(gain=GAINS, p=SHARES, reported=st.none() | SHARES)
def test_only_significance_the_claim_s_way_supports_it(gain, p, reported):
    assert (verdict(gain, p, reported) == "supported") == (p < 0.05 and gain > 0)


@given(gain=GAINS, p=st.floats(0.05, 1), reported=st.none() | SHARES)
def test_a_null_counts_against_a_claim_only_where_the_reported_difference_is_ruled_out(gain, p, reported):
    ruled_out = reported is not None and reported < 0.05
    assert verdict(gain, p, reported) == ("not supported" if ruled_out else "undecided")


@given(gain=st.floats(-1, -1e-9), p=st.floats(0, 0.049), reported=st.none() | SHARES)
def test_significance_the_other_way_counts_against_a_claim(gain, p, reported):
    assert verdict(gain, p, reported) == "not supported"


def null(gain, reported, error=0.02):
    return ClaimTest(
        kind="pair", model="m", task="lamp2", metric="accuracy", a="a", b="b", gain=gain, p=0.5, p_holm=0.5, users=200,
        standard_error=error, reported_gain=reported,
    )  # fmt: skip


def test_the_reported_gain_is_held_against_student_s_t_over_users_after_holm():
    tests = [null(0.0, 0.05), null(0.03, 0.05), null(0.0, None), null(0.0, -0.1), null(0.0, 0.3, error=None)]
    decide(tests)
    tails = [student.cdf(-2.5, 199), student.cdf(-1.0, 199)]
    assert [test.p_reported for test in tests] == [pytest.approx(2 * tails[0]), pytest.approx(tails[1]), *[None] * 3]
    assert [test.verdict for test in tests] == ["not supported", *["undecided"] * 4]
    assert {test.tests for test in tests} == {5}


def test_the_more_differences_a_paper_reports_the_more_it_takes_to_rule_one_out():
    few, many = [null(0.0, 0.05)], [null(0.0, 0.05), *(null(0.05, 0.05) for _ in range(17))]
    decide(few)
    decide(many)
    assert (few[0].verdict, many[0].verdict) == ("not supported", "undecided")


@given(st.lists(VERDICTS))
def test_a_claim_is_as_strong_as_its_weakest_comparison(verdicts):
    found = combined(verdicts)
    assert (found == "supported") == (bool(verdicts) and set(verdicts) == {"supported"})
    assert (found == "not supported") == ("not supported" in verdicts)


def judged(tmp_path, name, qualities, users=100, tasks=("lamp2", "lamp3")):
    return assemble(experiment(name), [point(tmp_path, qualities, tasks, users)], "tiny").claims


EDITS = ("chameleon:edit=personalized", "chameleon:edit=neutral")


def test_a_method_that_is_better_by_far_supports_its_claim(tmp_path):
    qualities = {"instruct": 0.3, "chameleon": 0.95, **dict.fromkeys(EDITS, 0.3)}
    (claim,) = judged(tmp_path, "table3", qualities)
    assert (claim.verdict, len(claim.tests)) == ("supported", 8)
    assert all(test.gain > 0 and test.p_holm < 0.05 for test in claim.tests)
    text = sentence(claim)
    assert text.startswith('Supported on tiny-llama and these data: "Editing both')
    assert "Holm over 8 tests" in text
    assert "minimum detectable" in text


@pytest.mark.parametrize(("fits", "decided"), [((0.95, 0.93, 0.96), "supported"), ((0.95, 0.31, 0.6), "undecided")])
def test_a_claim_holds_over_the_fits_of_all_seeds_or_is_undecided(tmp_path, fits, decided):
    spec = experiment("table3")
    labels = ",".join(("instruct", "chameleon", *EDITS))
    run = fabricate.store(tmp_path, fabricate.run_spec(labels, seeds=range(len(fits))))
    for seed, quality in enumerate(fits):
        for number, (label, right) in enumerate(
            {"instruct": 0.3, "chameleon": quality, **dict.fromkeys(EDITS, 0.3)}.items()
        ):
            frame = fabricate.samples("lamp2", right, seed=10 * number + (seed if label == "chameleon" else 0))
            run.write(fabricate.record("lamp2", label, frame, seed=seed), frame)
    (claim,) = assemble(spec, [PointResult(Point({}, run.read_run().spec), tmp_path, build(run))], "tiny").claims
    assert claim.verdict == decided
    assert {test.fits for test in claim.tests} == {3}
    assert "by the paired permutation test and the one over users and 3 fits, Holm over" in sentence(claim)


def test_a_method_that_is_worse_by_far_does_not(tmp_path):
    (claim,) = judged(tmp_path, "table3", {"instruct": 0.3, "chameleon": 0.1, **dict.fromkeys(EDITS, 0.9)})
    assert claim.verdict == "not supported"
    assert "8 the other way" in sentence(claim)


def test_lower_is_better_where_the_metric_is_an_error(tmp_path):
    (claim,) = judged(tmp_path, "table3", {"chameleon": 0.95, **dict.fromkeys(EDITS, 0.3)})
    rating = [test for test in claim.tests if test.metric in ("mae", "rmse")]
    assert len(rating) == 4
    assert all(test.gain > 0 and test.verdict == "supported" for test in rating)


def test_a_null_is_held_against_the_reported_difference_only_if_the_sample_rules_that_out(tmp_path):
    equal = {"chameleon": 0.6, **dict.fromkeys(EDITS, 0.6)}
    (small,) = judged(tmp_path / "small", "table3", equal, 20, ("lamp2",))
    (large,) = judged(tmp_path / "large", "table3", equal, 2500, ("lamp2",))
    assert large.verdict == "not supported"
    few, many = (next(t for t in claim.tests if (t.metric, t.b) == ("accuracy", EDITS[0])) for claim in (small, large))
    assert (few.verdict, many.verdict) == ("undecided", "not supported")
    assert few.reported_gain == many.reported_gain == pytest.approx(0.396 - 0.356)
    assert many.p_reported < 0.05 < few.p_reported
    assert "ruled out (p < 0.001 if it were true)" in sentence(large)


def test_with_too_few_users_for_any_significance_nothing_is_decided(tmp_path):
    (claim,) = judged(tmp_path, "table3", {"chameleon": 0.2, **dict.fromkeys(EDITS, 0.9)}, users=4)
    assert claim.verdict == "undecided"
    assert all(test.minimum_detectable is None for test in claim.tests)


def test_a_method_without_answers_keeps_a_claim_undecided(tmp_path):
    (claim,) = judged(tmp_path, "table3", {"instruct": 0.3, "chameleon": 0.95, EDITS[0]: 0.3})
    assert claim.verdict == "undecided"
    assert f"Answers are lacking for chameleon against {EDITS[1]} on lamp2 and" in sentence(claim)


def grown(tmp_path, qualities):
    spec = experiment("figure3")
    points = [
        point(
            tmp_path / str(size),
            {"instruct": 0.3, "chameleon": quality},
            ("lamp2", "lamp3"),
            **{spec.layout.axis: size},
        )
        for size, quality in qualities.items()
    ]
    return assemble(spec, points, "tiny").claims


def test_a_score_that_grows_along_the_axis_supports_both_claims_of_figure_3(tmp_path):
    trend, ends = grown(tmp_path, {1: 0.2, 20: 0.4, 40: 0.6, 60: 0.8, 80: 0.9})
    assert (trend.verdict, ends.verdict) == ("supported", "supported")
    assert {(test.a_tick, test.b_tick) for test in ends.tests} == {("80", "1")}
    assert {test.kind for test in trend.tests} == {"trend"}


def test_one_that_falls_supports_neither_and_one_that_stays_decides_nothing(tmp_path):
    falling = grown(tmp_path / "falling", {1: 0.9, 20: 0.7, 40: 0.5, 60: 0.3})
    level = grown(tmp_path / "level", dict.fromkeys((1, 20, 40), 0.5))
    assert [claim.verdict for claim in falling] == ["not supported", "not supported"]
    assert [claim.verdict for claim in level] == ["undecided", "undecided"]
    assert "every query scored the same" in sentence(level[1])


def test_two_claims_that_need_one_test_have_it_counted_once(tmp_path):
    qualities = dict.fromkeys(("instruct", "llm_rec", "aloe", "chameleon"), 0.5)
    everyone, instruct, aloe = judged(tmp_path, "table1", qualities, tasks=("lamp2",))
    assert {test.tests for test in everyone.tests} == {6}
    assert all(test in everyone.tests for test in [*instruct.tests, *aloe.tests])


def test_page_s_test_is_two_sided_and_holds_its_level():
    rng = np.random.default_rng(0)
    rising = rng.normal(size=(50, 5)) + 0.5 * np.arange(5)
    gain, p = page_trend(rising)
    assert (gain > 0, p < 0.001) == (True, True)
    assert page_trend(-rising) == pytest.approx((-gain, p))
    hits = np.mean([page_trend(rng.normal(size=(50, 5)))[1] < 0.05 for _ in range(400)])
    assert 0.025 <= hits <= 0.08
    ties = np.mean([page_trend(rng.integers(0, 2, size=(50, 5)).astype(float))[1] < 0.05 for _ in range(400)])
    assert ties <= 0.08


def test_an_improvement_is_measured_against_the_baseline_at_the_same_point(tmp_path):
    """Both methods gain from a longer history, so Chameleon's improvement on instruct does not."""
    history = {2: (0.3, 0.5), 4: (0.6, 0.8), 10: (0.6, 0.8)}
    points = [
        point(tmp_path / str(items), {"instruct": low, "chameleon": high}, ("lamp2",), 100, history=items)
        for items, (low, high) in history.items()
    ]
    limited, declines = assemble(experiment("figure5"), points, "tiny").claims
    assert limited.verdict == "undecided"
    (test,) = limited.tests
    scores = {
        side: {row.label: row.value for row in assembled if row.point == side and row.metric == "accuracy"}
        for assembled in [assemble(experiment("figure5"), points, "tiny").rows]
        for side in (0, 1)
    }
    gains = [scores[side]["chameleon"] - scores[side]["instruct"] for side in (1, 0)]
    assert test.gain == pytest.approx(gains[0] - gains[1])
    assert "as improvements on instruct there" in sentence(limited)
    assert not any(test.over for test in declines.tests)


def along(root, spec, qualities, silent):
    """The points of a figure, one of them of a method none of whose answers could be read."""
    points = []
    for tick, quality in qualities.items():
        methods = {"instruct": 0.5, "chameleon": quality}
        found = point(root / str(tick), methods, ("lamp2",), 100, **{spec.layout.axis: tick})
        for file in found.folder.glob("cells/*/chameleon/*/cell.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"parse_failures": float(tick == silent)}))
        points.append(replace(found, comparison=build(Store(found.folder))))
    return assemble(spec, points, "tiny")


def test_a_verdict_on_answers_that_could_not_be_read_says_so(tmp_path):
    result = along(tmp_path, experiment("figure5"), {2: 0.5, 4: 0.8, 10: 0.01}, silent=10)
    little, much = result.claims
    assert (little.verdict, much.verdict) == ("supported", "supported")
    unread = "100% of the answers of chameleon at 10 on lamp2 could not be read"
    assert f"But {unread}" in sentence(much)
    assert "could not be read" not in sentence(little)
    real = result.model_copy(update={"models": {"some/model": ""}}, deep=True)
    real.claims[1].model = "some/model"  # of an instrument nothing is concluded
    lost = real.model_copy(update={"claims": [real.claims[1].model_copy(update={"verdict": "undecided"})]})
    assert (
        "Of these 1 rest on answers most of which could not be read, or on fits that got too little done."
        in short_verdicts([lost])
    )
    assert f'Supported, but {unread}: "{much.quote}" (Figure 5, LaMP2).' in short_verdicts([real])
    assert f"supported, but {unread}" in joined([result], common(), reported(), "")


def test_one_user_makes_no_trend(tmp_path):
    spec = experiment("figure3")
    methods = {"instruct": 0.5, "chameleon": 0.5}
    points = [point(tmp_path / str(n), methods, ("lamp2",), 1, **{spec.layout.axis: n}) for n in (1, 20, 40)]
    assert {claim.verdict for claim in assemble(spec, points, "tiny").claims} == {"undecided"}


def test_a_trend_rests_on_the_answers_of_every_point(tmp_path):
    trend, ends = along(tmp_path, experiment("figure3"), {1: 0.1, 20: 0.5, 40: 0.9}, silent=20).claims
    assert trend.reservations == ["100% of the answers of chameleon at 20 on lamp2 could not be read"]
    assert ends.reservations == []


@pytest.mark.parametrize(("learned", "doubted"), [((19, 6, 23), True), ((19, 12, 23), False)])
def test_a_verdict_along_an_axis_says_where_its_fits_got_through_unequal_work(tmp_path, learned, doubted):
    spec = experiment("figure5")
    points = []
    for tick, users in zip((2, 4, 10), learned, strict=True):
        found = point(tmp_path / str(tick), {"instruct": 0.5, "chameleon": 0.5}, ("lamp2",), 100, history=tick)
        for file in found.folder.glob("cells/*/chameleon/*/cell.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"users_fitted": users}))
        points.append(replace(found, comparison=build(Store(found.folder))))
    little, much = assemble(spec, points, "tiny").claims
    said = "the fits of chameleon on lamp2 had learned from {} and {} users when their time was up"
    assert little.reservations == ([said.format(19, 6)] if doubted else [])
    assert much.reservations == ([said.format(6, 23)] if doubted else [])


def test_answers_that_are_another_cell_s_took_no_time(tmp_path):
    found = point(tmp_path / "again", {"instruct": 0.2, "chameleon": 0.9}, ("lamp2",))
    whole = sum(assemble(experiment("table1"), [found], "tiny").cells.values())
    [file] = found.folder.glob("cells/*/instruct/*/cell.json")
    cell = json.loads(file.read_text())
    assert cell["eval_seconds"] > 0
    file.write_text(json.dumps(cell | {"answers_of": "lamp2/instruct/seed-1"}))
    again = replace(found, comparison=build(Store(found.folder)))
    spent = sum(assemble(experiment("table1"), [again], "tiny").cells.values())
    assert spent == pytest.approx(whole - cell["eval_seconds"])


def test_a_verdict_on_a_fit_that_overran_its_budget_says_so(tmp_path):
    found = point(tmp_path / "late", {"instruct": 0.2, "llm_rec": 0.2, "aloe": 0.2, "chameleon": 0.9}, ("lamp2",))
    for file in found.folder.glob("cells/*/chameleon/*/cell.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "overran"}))
    [first, *_] = assemble(experiment("table1"), [replace(found, comparison=build(Store(found.folder)))], "tiny").claims
    assert first.verdict == "supported"
    assert first.reservations == ["chameleon on lamp2 overran its budget"]


@pytest.mark.parametrize(("served", "said"), [(10, ["chameleon at 1 on lamp2 served 10 of its 100 users"]), (60, [])])
def test_a_verdict_on_a_fit_that_came_to_few_users_says_so_and_asks_for_no_more(tmp_path, served, said):
    spec = experiment("figure3")
    points = []
    for tick in (1, 20, 40):
        other = {"dpo": 0.5} if tick == 40 else {}  # before Chameleon, whose luck is then another
        methods = {"instruct": 0.5, **other, "chameleon": 0.5}
        found = point(tmp_path / str(tick), methods, ("lamp2",), 100, **{spec.layout.axis: tick})
        if tick == 1:
            for file in found.folder.glob("cells/*/chameleon/*/cell.json"):
                file.write_text(json.dumps(json.loads(file.read_text()) | {"users_served": served}))
        points.append(replace(found, comparison=build(Store(found.folder))))
    result = assemble(spec, points, "tiny")
    assert [claim.reservations for claim in result.claims] == [said, said]
    for claim in result.claims:
        claim.model = "some/model"  # of an instrument nothing is concluded
    lines = short_verdicts([result.model_copy(update={"models": {"some/model": ""}})])
    assert any("would decide" in line for line in lines) == (not said)
