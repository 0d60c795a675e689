"""What a person sees of a run that goes on: on a terminal the cell, its phase and its budget; elsewhere lines alone."""

import io
import re

import pytest
from rich.console import Console

from harness.results.records import CellRecord
from harness.running.clock import BudgetClock
from harness.running.progress import Display
from harness.specs.run_spec import CellSpec
from tests.fabricate import record, samples
from tests.running.test_clock import FakeTime
from tests.running.test_preparation import prepared, write_split
from tests.specs.test_run_spec import CELL

ODD = "[red]x[/nope] :smile:"
CODES = "\x1b["


def shown(do, terminal=True):
    """All that is written while a display is told what `do` tells it; what stands below the lines is drawn last."""
    screen = io.StringIO()
    with Display(Console(file=screen, force_terminal=terminal, color_system=None, width=150)) as display:
        do(display)
    return screen.getvalue()


def cell(**changes):
    return CellSpec(**{**CELL, **changes})


@pytest.fixture
def fitting():
    """Of three cells one is finished, and the second looks for directions and has had 15 of its 60 s."""
    time = FakeTime()
    clock = BudgetClock(60.0, now=time)

    def tell(display):
        display.planned([cell(), cell(seed=1), cell(seed=2)])
        display.finished(record("lamp3", "instruct", samples("lamp3", 0.5)), reused=False)
        display.recomputing(cell(seed=1), "its code changed")
        display.fitting(cell(seed=1), clock)

    with clock.phase("directions"):
        time.sleep(15.0)
        yield tell


def evaluating(display):
    display.planned([cell()])
    display.evaluating(cell(), 40)
    display.answered(10)


def test_a_terminal_shows_the_cell_its_phase_and_what_is_left_of_its_budget(fitting):
    text = shown(fitting)
    assert re.search(r"1/3 cells, \d+s since the start: lamp3 chameleon seed 1, fitting\n", text)
    assert re.search(r"directions .* 45s of 60s left\n", text)


def test_a_terminal_shows_how_many_answers_there_are():
    text = shown(evaluating)
    assert re.search(r"0/1 cells, \d+s since the start: lamp3 chameleon seed 0, evaluating\n", text)
    assert re.search(r"answers .* 10 of 40 queries\n", text)


def test_a_terminal_shows_which_point_of_a_sweep_is_computed():
    assert "point 2 of 5" in shown(lambda display: display.point(2, 5, "history=4"))


def test_where_there_is_no_terminal_only_lines_are_written(fitting):
    text = shown(fitting, terminal=False)
    assert CODES in shown(fitting)
    assert CODES not in text
    assert "directions" not in text
    assert [line.split()[0] for line in text.splitlines()] == ["1/3", "Computing"]


def test_how_many_users_of_the_data_are_evaluated_is_said(tmp_path):
    write_split(tmp_path, "dev", ["ann", "bob", "cy"])
    some, every = (shown(lambda display, n=n: display.prepared(prepared(tmp_path, users=n))) for n in (2, 3))
    assert "4 queries of 2 users (the first of 3: --users and --limit say how many), split dev" in some
    assert "6 queries of 3 users, split dev" in every


@pytest.mark.parametrize(
    "tell",
    [
        lambda display: display.fitting(cell(variant=ODD), BudgetClock(60.0)),
        lambda display: display.evaluating(cell(task=ODD), 3),
        lambda display: display.recomputing(cell(), ODD),
        lambda display: display.recomputing(cell(variant=ODD), "its code changed"),
        lambda display: display.stage(ODD),
        lambda display: display.point(1, 2, ODD),
        lambda display: display.finished(CellRecord(spec=cell(variant=ODD), status="complete"), reused=True),
        lambda display: display.finished(record("lamp3", "dpo", None, status="failed", reason=ODD), reused=False),
    ],
    ids=["fitting", "evaluating", "why", "recomputing", "stage", "point", "finished", "reason"],
)
def test_what_reads_as_markup_in_a_foreign_name_is_shown_as_text(tell):
    assert ODD in shown(tell)
