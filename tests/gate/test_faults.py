"""The gate against planted faults: the committed baseline passes, and every fault makes it fail."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.gate.baseline import Baseline, read
from harness.gate.difference_lines import lines
from harness.gate.gating import check, repeat_and_compare
from tests.gate import method_faults, run_faults
from tests.gate.planting import Fault

FAULTS = (*method_faults.FAULTS, *run_faults.FAULTS)
BASELINE = Path(__file__).parents[2] / "leaderboards" / "ci.json"


def restricted(baseline: Baseline, run_name: str, task: str, labels: tuple[str, ...]) -> Baseline:
    """The part of a baseline that concerns some methods on one task of one run."""
    (run,) = [run for run in baseline.runs if run.name == run_name]
    methods = tuple(method for method in run.spec.methods if method.label in labels)
    spec = run.spec.model_copy(update={"tasks": (task,), "methods": methods})
    cells = [cell for cell in baseline.cells if cell.run == run_name and cell.task == task and cell.method in labels]
    assert len(cells) == len(labels) * len(spec.seeds)
    return baseline.model_copy(update={"runs": [run.model_copy(update={"spec": spec})], "cells": cells})


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    """The committed baseline, after the whole gate was seen to pass: only then a difference is a fault's."""
    out = io.StringIO()
    status = check(BASELINE, Console(file=out, width=200))
    assert status == 0, f"the code differs from leaderboards/ci.json without any fault:\n{out.getvalue()}"
    return read(BASELINE)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_gate_catches(fault: Fault, baseline, monkeypatch, record_property):
    """Or does not, and says why: a fault that comes to be caught is to lose its excuse."""
    part = restricted(baseline, *fault.cells)
    fault.plant(monkeypatch)
    repetition, differences = repeat_and_compare(part, BASELINE, Console(file=io.StringIO()))
    assert "failed" not in {cell.status for cell in repetition.cells}, "the fault is not silent"
    found = [difference for difference in differences if not difference.tolerated]
    caught_by = sorted(set().union(*(difference.kinds for difference in found)))
    record_property("planted fault", (fault.name, ", ".join(caught_by)))
    print("\n".join(lines(found)))
    assert bool(found) == (not fault.why_unseen)
