"""The gate against planted faults: what they concern of the committed baseline passes, and each makes it fail."""

import io
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest
from rich.console import Console

import harness.running.experiment
from harness.conformance.work_time import WorkTime
from harness.gate.baseline import Baseline, read
from harness.gate.difference_lines import lines
from harness.gate.gating import repeat_and_compare
from harness.model.embedding import load_embedder
from harness.model.lm import HuggingFaceModel
from harness.running.cell import Cell
from harness.running.retrieval import Embed
from tests.gate import method_faults, run_faults
from tests.gate.planting import Fault

FAULTS = (*method_faults.FAULTS, *run_faults.FAULTS)
BASELINE = Path(__file__).parents[2] / "leaderboards" / "ci.json"
QUIET = Console(file=io.StringIO())
# A fit of "short budget" on so many users that ignores its 5 s takes 20 s and more, at so many seconds for each token.
FIT_USERS, TOKEN = 15, 2e-3


def restricted(baseline: Baseline, run_name: str, task: str, labels: tuple[str, ...]) -> Baseline:
    """The part of a baseline that concerns some methods on one task of one run."""
    (run,) = [run for run in baseline.runs if run.name == run_name]
    methods = tuple(method for method in run.spec.methods if method.label in labels)
    spec = run.spec.model_copy(update={"tasks": (task,), "methods": methods})
    if run.compare == "budget":  # a twentieth of the users at twenty times the work for each: as long a fit
        spec = spec.model_copy(update={"fit_users": FIT_USERS})
    cells = [cell for cell in baseline.cells if cell.run == run_name and cell.task == task and cell.method in labels]
    assert len(cells) == len(labels) * len(spec.seeds)
    return baseline.model_copy(update={"runs": [run.model_copy(update={"spec": spec})], "cells": cells})


@pytest.fixture(scope="module", autouse=True)
def work() -> Iterator[None]:
    """Fits are timed by their work, so that the budget of 5 s binds what it should bind on every machine."""
    with pytest.MonkeyPatch.context() as patch, WorkTime(TOKEN) as work:
        pristine = HuggingFaceModel.pristine
        patch.setattr(HuggingFaceModel, "pristine", lambda self: work.watch(pristine(self)))
        patch.setattr(harness.running.experiment, "Cell", partial(Cell, now=work))
        yield


@pytest.fixture(scope="module", autouse=True)
def embeddings() -> Iterator[None]:
    """What was embedded is not embedded again: no fault is planted there."""

    @cache
    def load_once(name: str, device: str) -> Embed:
        embed = cache(load_embedder(name, device))
        return lambda texts: embed(tuple(texts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.running.experiment, "load_embedder", load_once)
        yield


@pytest.fixture(scope="module")
def sound(work) -> Callable[[tuple[str, str, tuple[str, ...]]], Baseline]:
    """A part of the baseline, after it was seen to pass without any fault: only then a difference is a fault's."""
    baseline, passed = read(BASELINE), set()

    def part(cells: tuple[str, str, tuple[str, ...]]) -> Baseline:
        run, task, labels = cells
        if new := tuple(label for label in labels if (run, task, label) not in passed):
            _, differences = repeat_and_compare(restricted(baseline, run, task, new), BASELINE, QUIET)
            told = "\n".join(lines(found := [difference for difference in differences if not difference.tolerated]))
            assert not found, f"the code differs from leaderboards/ci.json without any fault:\n{told}"
            passed.update((run, task, label) for label in new)
        return restricted(baseline, *cells)

    return part


def test_a_part_of_the_committed_baseline_is_met(sound):
    sound(("synthetic", "lamp3", ("instruct", "llm_rec")))


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_gate_catches(fault: Fault, sound, monkeypatch, record_property):
    part = sound(fault.cells)
    fault.plant(monkeypatch)
    repetition, differences = repeat_and_compare(part, BASELINE, QUIET)
    assert "failed" not in {cell.status for cell in repetition.cells}, "the fault is not silent"
    found = [difference for difference in differences if not difference.tolerated]
    caught_by = sorted(set().union(*(difference.kinds for difference in found)))
    record_property("planted fault", (fault.name, ", ".join(caught_by)))
    print("\n".join(lines(found)))
    assert found
