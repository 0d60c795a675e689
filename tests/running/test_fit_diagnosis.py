"""Evidence on a fit is taken after it: off the budget, after the answers are settled, and nothing depends on it."""

import math

import pytest

from harness.api import Diagnosis
from harness.results.records import CellRecord
from tests.running.test_cell import Plain, Probe, compute, source
from tests.running.test_clock import FakeTime

__all__ = ["compute", "source"]  # fixtures

FOUND = Diagnosis("what it rests on", {"pairs": 12, "layers": "0, 2"}, "How to read it.", "it rests on chance")


def diagnosing(diagnose):
    def during(context):
        context.report.diagnose = diagnose

    return Probe(during)


def test_a_diagnosis_costs_no_budget_and_is_recorded(compute):
    clock, now = [], FakeTime()

    def during(context):
        def diagnose():
            clock.append(context.clock.elapsed())
            now.sleep(0.2)
            clock.append(context.clock.elapsed())
            return FOUND

        context.report.diagnose = diagnose

    record, _, _ = compute(Probe(during), now=now)
    assert clock == [record.fit_seconds] * 2
    assert record.diagnosis_seconds == pytest.approx(0.2)
    assert sum(record.phases.values()) == pytest.approx(record.fit_seconds)
    read = CellRecord.model_validate_json(record.model_dump_json())
    assert read.diagnosis == record.diagnosis == FOUND
    assert type(record.diagnosis.values["pairs"]) is float


def test_a_diagnosis_comes_too_late_to_change_an_answer(compute):
    def during(context):
        personalizer = Plain(context.task, "fitted")

        def spoil():
            personalizer.answer = "spoiled"
            return FOUND

        context.report.diagnose = spoil
        return personalizer

    record, samples, _ = compute(Probe(during))
    assert record.diagnosis == FOUND
    assert set(samples["output"]) == {"fitted"}


def fail():
    raise RuntimeError("out of memory")


def fail_with_what_no_file_can_hold():
    raise RuntimeError("no \udc80 today")


@pytest.mark.parametrize(
    ("diagnose", "reason"),
    [
        (fail, "RuntimeError: out of memory"),
        (fail_with_what_no_file_can_hold, "RuntimeError: no   today"),
        (lambda: Diagnosis("t", {"good": 1.0, "bad": math.nan}), "not finite: bad"),
    ],
)
def test_a_diagnosis_that_fails_costs_no_cell(compute, diagnose, reason):
    record, samples, _ = compute(diagnosing(diagnose))
    assert record.status == "complete"
    assert record.diagnosis is None
    assert any("there is no diagnosis of the fit" in note and reason in note for note in record.notes)
    assert len(samples)


def test_a_fit_without_a_diagnosis_takes_none(compute):
    record, _, _ = compute(Probe())
    assert (record.diagnosis, record.diagnosis_seconds) == (None, 0.0)


def test_a_record_from_before_there_were_diagnoses_is_read(compute):
    record, _, _ = compute(Probe())
    assert CellRecord.model_validate_json(record.model_dump_json(exclude={"diagnosis", "diagnosis_seconds"})) == record
