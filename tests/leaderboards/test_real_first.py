"""Real models stand above the test instruments, and a row tells when its fit was worth its time."""

import json
import re

import pytest

from harness.leaderboards.recording import record
from harness.leaderboards.site import render
from harness.leaderboards.views import INSTRUMENTS, REMARKS
from harness.registry import MODELS, is_instrument, model_remark


@pytest.fixture
def board(run):
    """The table of a run of the embedded model and of one that could be anybody's."""
    tiny = record(run("tiny", {"instruct": 0.3, "chameleon": 0.95}))
    values = tiny.model_dump(mode="json")
    values["id"] = "another-0123"
    values["setting"]["model"] = "another"
    return render([tiny, type(tiny).model_validate(values)])["index.html"]


def test_the_pages_know_every_registered_instrument():
    """They are built from records alone, whatever models this installation has: plug-ins do not import the registry."""
    assert [name for name in MODELS.names() if is_instrument(name)] == list(INSTRUMENTS)
    assert {name: said for name in MODELS.names() if (said := model_remark(name))} == REMARKS


def test_a_small_model_is_called_one_above_its_results(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    values["setting"]["model"] = "smollm2-135m"
    pages = render([found, type(found).model_validate({**values, "id": "small-0123"})])
    told = {name for name, page in pages.items() if "135M parameters" in page}
    assert {"index.html", "runs/small-0123.html", "methods/chameleon.html"} <= told
    assert f"runs/{found.id}.html" not in told


def test_real_models_come_first_and_instruments_stand_apart_below(board):
    real, instruments = board.split('<tbody id="ours">')[1].split('<tbody id="instruments">')
    assert set(re.findall(r'data-model="([\w-]+)"', real)) == {"another"}
    assert set(re.findall(r'data-model="([\w-]+)"', instruments.split('<tbody id="reported">')[0])) == {"tiny-llama"}
    assert "Test instruments: small models of a synthetic world" in real


def test_the_time_to_a_tenth_better_is_a_column(board):
    assert board.count('data-key="reach"') == 1
    shown = dict(re.findall(r'data-method="(\w+)"[^>]*?data-reach="([\d.]*)"', board))
    assert shown == {"instruct": "", "chameleon": "7.0"}


def test_what_an_earlier_record_does_not_tell_is_unknown_and_not_never(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    assert ">unknown<" not in render([found])["index.html"]
    del values["results"][1]["reach_seconds"]
    page = render([type(found).model_validate(values)])["index.html"]
    assert page.count(">unknown<") == 1


def test_every_row_has_as_many_cells_as_the_head(board):
    for row in re.findall(r"<tr.*?</tr>", board, re.DOTALL):
        assert "colspan" in row or len(re.findall(r"<t[hd]\b", row)) == 16


def test_the_likelihood_of_gold_answers_is_shown_where_it_was_measured(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    values["likelihood_higher_is_better"] = {"lamp2": {"gold_nats": True}}
    values["results"][0]["likelihood"] = {"gold_nats": {"value": -1.25, "low": -1.5, "high": -1.0}}
    page = render([type(found).model_validate(values)])["index.html"]
    assert re.findall(r'data-nats="([-\d.]+)"', page) == ["-1.25"]
    assert "−1.250" in page


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("sole_answer", "comedy", "one answer for all"), ("not_finite", 3, "numbers not finite")],
)
def test_answers_that_are_all_alike_or_of_no_finite_numbers_are_told_below_the_score(run, field, value, words):
    folder = run("some", {"instruct": 0.3, "chameleon": 0.95})
    assert words not in render([record(folder)])["index.html"]
    path = folder / "comparison.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    for row in (*values["rows"], *values["pooled"]):
        row.update({field: value} if row["method"] == "chameleon" else {"sole_answer": None})
    path.write_text(json.dumps(values), encoding="utf-8")
    told = sum(row["method"] == "chameleon" for row in values["pooled"])
    assert render([record(folder)])["index.html"].count(words) == told > 0


def test_how_much_an_answer_copies_stands_below_its_score_where_it_was_measured(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    values["likelihood_higher_is_better"] = {"lamp2": {"copied": False}}
    values["results"][0]["likelihood"] = {"copied": {"value": 0.784, "low": 0.7, "high": 0.8}}
    page = render([type(found).model_validate(values)])["index.html"]
    assert re.findall(r"copies ([^<\s]+)<", page) == ["78.4%"]


def test_copying_other_words_than_instruct_is_called_neither_better_nor_worse(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    values["likelihood_higher_is_better"] = {"lamp2": {"copied": False, "neutral_changed": False}}
    told = {"value": 0.4, "vs_instruct": {"difference": -0.1, "p": 0.001, "p_holm": 0.001}}
    values["results"][1]["likelihood"] = {"copied": told, "neutral_changed": told}
    page = render([type(found).model_validate(values)])[f"runs/{found.id}.html"]
    assert len(re.findall(r"better[^>]*>−0\.100", page)) == 1
    assert page.count("−0.100") == 2


def test_what_a_gain_breaks_and_whom_it_hurts_stands_in_its_row(run):
    found = record(run("some", {"instruct": 0.3, "chameleon": 0.95}))
    values = found.model_dump(mode="json")
    values["likelihood_higher_is_better"] = {"lamp2": {"neutral_nats": True, "neutral_changed": False}}
    against = {"difference": -0.05, "p": 0.001, "p_holm": 0.001}
    values["results"][1] |= {"regret_rate": 0.24, "parse_failures": 0.4}
    values["results"][1]["likelihood"] = {
        "neutral_nats": {"value": -3.65, "vs_instruct": against},
        "neutral_changed": {"value": 0.55, "vs_instruct": {**against, "difference": 0.55}},
    }
    page = render([type(found).model_validate(values)])["index.html"]
    rows = dict(re.findall(r'<tr data-task="lamp2".*?data-method="(\w+)"(.*?)</tr>', page, re.DOTALL))
    for words in (
        "24% of users worse off",
        "neutral log p −0.050, worse",
        "55% of neutral answers changed",
        "40% unreadable",
    ):
        assert words in rows["chameleon"]
        assert words.partition(" ")[2] not in rows["instruct"]
