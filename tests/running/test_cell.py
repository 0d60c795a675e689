"""One cell: what a method can reach, how its time is judged, and what happens when it fails."""

import errno
import json
import os
import re
import sys
import tempfile
import time
import types
import warnings
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from harness.api import HarnessError, Method, Metric, Personalizer
from harness.model.lm import load
from harness.registry import MODELS
from harness.results.store import Store
from harness.running.cell import Cell
from harness.running.checkpoints import Anytime
from harness.running.preparation import prepare
from harness.running.progress import Quiet
from harness.specs.run_spec import CellSpec, MethodSpec, RunSpec
from harness.tasks.lamp import Lamp7
from tests.running.test_clock import FakeTime
from tests.specs.test_run_spec import CELL

CANARY = "unmistakable gold canary"
SPEC = RunSpec(methods=(MethodSpec(name="probe"),), tasks=("lamp7",), budget=60, model="tiny-llama", history=3)


class Config(BaseModel):
    """Nothing to set."""


class Plain(Personalizer):
    def __init__(self, task, answer=None):
        self.task, self.answer = task, answer

    def prompt(self, query, history):
        return self.task.prompts.base(query.text, history)

    def answers(self, queries):
        return self.answer and [self.answer] * len(queries)

    def save(self, directory):
        (directory / "answer.json").write_text(json.dumps(self.answer))


class Probe(Method):
    """Does what a test asks for while it fits."""

    Config = Config

    def __init__(self, during=lambda context: None):
        super().__init__(Config())
        self.during = during

    def fit(self, context):
        return self.during(context) or Plain(context.task, "fitted")

    def load(self, directory, task):
        return Plain(task, json.loads((directory / "answer.json").read_text()))


@pytest.fixture(scope="module")
def source():
    return load(str(MODELS.get("tiny-llama")))


@pytest.fixture
def compute(tmp_path, source):
    place = tmp_path / "data" / "LaMP_7"
    place.mkdir(parents=True)
    stem = "Paraphrase the following tweet without any explanation before or after it: "
    profiles = [[{"id": str(i), "text": f"my tweet number {i}, {who}"} for i in range(4)] for who in ("ann", "bob")]
    questions = [{"id": f"q{n}", "input": f"{stem}a tweet of {n}", "profile": own} for n, own in enumerate(profiles)]
    golds = [{"id": f"q{n}", "output": f"{CANARY} {n}"} for n in range(2)]
    (place / "dev_questions.json").write_text(json.dumps(questions))
    (place / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_7", "golds": golds}))
    spec = SPEC.model_copy(update={"data": str(tmp_path / "data")})

    def embed(texts):
        return np.ones((len(texts), 2), np.float32)

    prepared = {
        shown: prepare(Lamp7(), spec.model_copy(update={"eval_history": shown}), source, embed)
        for shown in ("own", "none")
    }

    def run(
        method, budget=600.0, save_fit=False, marks=(), now=time.monotonic, eval_history="own", out=tmp_path / "out"
    ):
        settings = {"budget": budget, "marks": marks, "eval_history": eval_history}
        cell = CellSpec(**{**CELL, "task": "lamp7", "method": "probe", **settings})
        store = Store(out)
        record, samples = Cell(cell, method, prepared[eval_history], embed, {}, now).compute(
            source, store, Quiet(), save_fit
        )
        store.write(record, samples, save_fit)
        return record, samples, store.cell_dir(cell)

    return run


def reachable_texts(start):
    """Every string that attributes, items and closures lead to."""
    seen, waiting = set(), deque([start])
    while waiting:
        thing = waiting.popleft()
        if id(thing) in seen or isinstance(thing, types.ModuleType | type):
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            yield thing
        elif isinstance(thing, dict):
            waiting.extend([*thing.keys(), *thing.values()])
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            waiting.extend(thing)
        elif isinstance(thing, types.FunctionType):
            waiting.extend(cell.cell_contents for cell in thing.__closure__ or ())
        elif isinstance(thing, types.MethodType):
            waiting.append(thing.__self__)
        else:
            waiting.extend(vars(thing).values() if hasattr(thing, "__dict__") else ())


def test_no_gold_can_be_reached_from_what_a_method_gets(compute):
    found = []
    record, samples, _ = compute(Probe(lambda context: found.extend(reachable_texts(context))))
    assert record.status == "complete", record.reason
    assert samples["gold"].str.contains(CANARY).all()
    assert any("my tweet number" in text for text in found)
    assert not [text for text in found if CANARY in text]


def test_a_fit_over_the_budget_overran(compute):
    now = FakeTime()
    record, samples, _ = compute(Probe(lambda context: now.sleep(1.3)), budget=0.2, now=now)
    assert record.status == "overran"
    assert record.fit_seconds == pytest.approx(1.3)
    assert samples is not None


def test_a_fit_that_the_clock_cut_short_is_budget_exhausted(compute):
    now = FakeTime()

    def work(context):
        for _ in context.clock.steps(range(100)):
            now.sleep(0.02)

    record, _, _ = compute(Probe(work), budget=0.3, now=now)
    assert record.status == "budget_exhausted"
    assert record.fit_seconds == pytest.approx(0.28)  # a step more, with its margin, might have been late


def test_what_was_saved_is_what_is_evaluated(compute):
    class Forgetful(Plain):
        def save(self, directory):
            (directory / "answer.json").write_text(json.dumps("from the file"))

    _, samples, _ = compute(Probe(lambda context: Forgetful(context.task, "from memory")))
    assert set(samples["output"]) == {"from the file"}


def test_samples_hold_the_length_of_their_users_history_before_selection(compute):
    record, samples, _ = compute(Probe())
    assert list(samples["history_items"]) == [4, 4]
    assert record.serves_newcomers


def test_a_kept_fit_can_be_loaded(compute):
    _, _, folder = compute(Probe(), save_fit=True)
    assert Probe().load(folder / "fit", Lamp7()).answer == "fitted"


def state():
    """What a method can change for the whole process."""
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.are_deterministic_algorithms_enabled()
    torchs = *modes, torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    return os.getcwd(), dict(os.environ), list(warnings.filters), *torchs


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_method_changes_in_the_process_reaches_neither_its_answers_nor_later_cells(compute, fails):
    seen, entered = [], torch.inference_mode()

    def leave_changed(gradients):
        seen.append(state())
        gradients()
        torch.use_deterministic_algorithms(True)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_num_threads(torch.get_num_threads() + 1)
        os.environ["LEFT"] = os.environ.pop("PATH")
        os.chdir(os.sep)
        warnings.simplefilter("ignore")

    class Leaving(Probe):
        def fit(self, context):
            leave_changed(lambda: torch.set_grad_enabled(False))
            if fails:
                raise ValueError("not today")
            return super().fit(context)

        def load(self, directory, task):
            found = super().load(directory, task)
            leave_changed(entered.__enter__)
            return found

    before = state()
    record, _, _ = compute(Leaving())
    assert record.status == ("failed" if fails else "complete"), record.reason
    assert seen == [before] * (1 if fails else 2)
    assert state() == before


def test_results_lie_in_the_folder_that_was_given_where_a_method_changes_to_another(compute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, folder = compute(Probe(lambda context: os.chdir("data")), save_fit=True, out=Path("out"))
    assert {path.name for path in (tmp_path / folder).iterdir()} >= {"cell.json", "samples.parquet", "fit"}


@pytest.mark.parametrize("stage", ["fit", "save", "evaluation"])
def test_a_failure_at_any_stage_is_recorded_with_its_reason(compute, stage):
    def fail(*_):
        raise ValueError(f"no {stage} today")

    class Fails(Plain):
        save = fail if stage == "save" else Plain.save

    class FailsLater(Probe):
        load = fail if stage == "evaluation" else Probe.load

    record, samples, folder = compute(FailsLater(fail if stage == "fit" else lambda c: Fails(c.task, "x")))
    assert (record.status, record.reason) == ("failed", f"ValueError: no {stage} today")
    assert samples is None
    assert record.metrics == {}
    assert record.fit_seconds > 0
    assert f"no {stage} today" in (folder / "error.txt").read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("counts", {"loss": float("nan")}, "counts['loss'] is nan, not a finite number"),
        ("counts", {"loss": None}, "counts['loss'] is None, not a finite number"),
        ("users_fitted", 2.5, "users_fitted is 2.5, not a whole number"),
    ],
)
def test_what_no_record_can_hold_fails_the_cell_and_is_named(compute, name, value, said):
    def fit(context):
        setattr(context.report, name, value)
        return Plain(context.task, "x")

    record, _, folder = compute(Probe(fit))
    assert (record.status, record.reason) == ("failed", f"ValueError: {said}")
    assert json.loads((folder / "cell.json").read_text())["status"] == "failed"


def test_an_error_whose_text_no_file_can_hold_is_recorded_without_what_cannot(compute):
    def fail(context):
        raise ValueError("no \udc80 and\nno \x1b today")

    record, _, folder = compute(Probe(fail))
    assert record.reason == "ValueError: no   and\nno   today"
    assert record.reason in (folder / "error.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "cell.json").read_text(encoding="utf-8"))["reason"] == record.reason


def test_a_method_that_changes_its_task_changes_it_for_itself_alone(compute):
    found = []

    def fit(context):
        found.append(context.task.max_new_tokens)
        context.task.max_new_tokens = 1
        return Plain(context.task, "x")

    compute(Probe(fit))
    compute(Probe(fit))
    assert found == [Lamp7.max_new_tokens] * 2


def test_a_method_that_exits_is_a_failed_cell(compute):
    def leave(context):
        sys.exit(3)

    record, samples, folder = compute(Probe(leave))
    assert (record.status, record.reason) == ("failed", "SystemExit: 3")
    assert samples is None
    assert "leave" in (folder / "error.txt").read_text()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("IoError (os error 28)")])
def test_a_full_disk_is_no_failure_of_the_method_and_both_places_are_named(compute, error, tmp_path):
    def fill(context):
        raise error

    with pytest.raises(HarnessError, match=r"the disk is full.*repeat the command") as told:
        compute(Probe(fill))
    assert re.search(rf" in {re.escape(tempfile.gettempdir())}/harness-\w+ and .* in {tmp_path}/out;", str(told.value))


def test_an_interruption_is_recorded_as_such(compute):
    def interrupt(context):
        raise KeyboardInterrupt

    record, samples, _ = compute(Probe(interrupt))
    assert record.status == "interrupted"
    assert samples is None


@pytest.mark.parametrize(
    ("ends", "status", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted by Ctrl-C or SIGTERM"),
        (ValueError("the loss is not finite"), "failed", "ValueError: the loss is not finite"),
    ],
)
def test_a_count_that_is_unfinished_hides_nothing_that_ends_a_fit(compute, ends, status, reason):
    def fit(context):
        context.report.counts["loss"] = float("nan")
        raise ends

    record, _, _ = compute(Probe(fit))
    assert (record.status, record.reason) == (status, reason)


def test_samples_that_no_file_can_hold_fail_the_cell_and_end_no_run(compute, monkeypatch):
    kinds = iter(range(4))
    monkeypatch.setattr(Lamp7, "parse", lambda self, output: (output if next(kinds) % 2 else 5, True))
    monkeypatch.setattr(Lamp7, "metrics", (Metric("same", True, lambda answer, gold: (0.0,), lambda means: means[0]),))
    monkeypatch.setattr(Lamp7, "labels", ("5",))
    record, samples, folder = compute(Probe())
    assert (record.status, samples) == ("failed", None)
    assert "prediction" in record.reason
    assert json.loads((folder / "cell.json").read_text())["status"] == "failed"


def test_a_method_that_changes_its_model_changes_nobody_elses(compute, source):
    before = {name: weight.clone() for name, weight in source.model.named_parameters()}

    def vandalize(context):
        for weight in context.lm.model.parameters():
            weight.data.zero_()
        return Plain(context.task)

    changed = compute(Probe(vandalize))[1]
    untouched = compute(Probe(lambda context: Plain(context.task)))[1]
    assert list(changed["output"]) == list(untouched["output"])
    assert all((weight == before[name]).all() for name, weight in source.model.named_parameters())


def test_fits_of_one_seed_draw_the_same_random_numbers(compute):
    drawn = []

    def draw(context):
        drawn.append(np.random.rand(3).tolist())

    compute(Probe(draw))
    np.random.rand(7)
    compute(Probe(draw))
    assert drawn[0] == drawn[1]


def test_checkpoints_are_evaluated_beside_the_fit_and_marked_as_not_annealed(compute):
    now = FakeTime()

    def work(context):
        for number in range(6):
            now.sleep(0.05)
            context.checkpoint(number, lambda: Plain(context.task, "stopped"))

    record, samples, folder = compute(Probe(work), budget=10.0, marks=(0.0125, 0.5), now=now)
    anytime = Anytime.model_validate_json((folder / "anytime.json").read_text())
    assert [(point.mark, point.samples_used, point.annealed) for point in anytime.points] == [
        (0.125, 2, False),
        (None, 0, True),
    ]
    assert [point.seconds for point in anytime.points] == pytest.approx([0.15, 0.3])
    assert record.fit_seconds == pytest.approx(0.3)
    assert anytime.points[0].metrics.keys() == record.metrics.keys() != set()
    assert anytime.points[1].metrics == record.metrics
    assert [gone.mark for gone in anytime.missing] == [5.0]
    assert set(samples["output"]) == {"fitted"}


def test_a_cell_without_marks_has_no_anytime_file(compute):
    _, _, folder = compute(Probe(lambda context: context.checkpoint(1, lambda: 1 / 0)))
    assert not (folder / "anytime.json").exists()
