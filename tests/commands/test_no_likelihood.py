"""`--no-likelihood`: the measure is left out of the cells, which are others than those that have it."""

import pytest
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.commands.app import app
from harness.library import compare
from harness.results.store import Store
from harness.specs.resolve import resolve

METHODS, SMALL = "instruct,constant", {"tasks": "lamp3", "budget": 600.0, "users": 2, "limit": 2}
ASKED = ["compare", "--methods", METHODS, "--tasks", "lamp3", "--budget", "600s", "--users", "2", "--limit", "2"]
OURS = {"gold_nats", "likely_label", "label_accuracy", "label_mae"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs, one with the measure and one without."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("with", "without"):
        compare(METHODS, out=root / name, likelihood=name == "with", **SMALL)
    return root


def cells(folder):
    store = Store(folder)
    return {record.spec.label: (record, store.samples(record.spec)) for record in store.records()}


def test_it_is_measured_unless_one_says_otherwise():
    assert resolve(METHODS, **SMALL).likelihood
    assert not resolve(METHODS, likelihood=False, **SMALL).likelihood


def test_a_cell_without_it_has_neither_columns_nor_costs_and_the_same_answers(folders):
    measured, bare = cells(folders / "with"), cells(folders / "without")
    for label, (record, samples) in bare.items():
        ours, columns = measured[label]
        assert not OURS & set(samples)
        assert columns[samples.columns].equals(samples)
        assert (record.likelihood, record.likelihood_seconds, record.likelihood_tokens) == ({}, 0.0, 0)
        same = {"metrics", "tokens_in", "tokens_out", "parse_failures", "unanswerable", "counts"}
        assert record.model_dump(include=same) == ours.model_dump(include=same)
        assert record.spec.digest != ours.spec.digest


def test_a_cell_with_it_has_columns_means_and_costs_of_its_own(folders):
    record, samples = cells(folders / "with")["instruct"]
    assert set(samples) >= OURS
    assert record.likelihood["gold_nats"] == pytest.approx(samples["gold_nats"].mean())
    assert record.likelihood_queries == len(samples) == 2
    assert record.likelihood_seconds > 0
    assert record.likelihood_tokens > 0


def test_a_control_without_a_model_has_empty_columns_and_a_note(folders):
    record, samples = cells(folders / "with")["constant"]
    assert samples[sorted(OURS)].isna().all(axis=None)
    assert (record.likelihood, record.likelihood_queries) == ({}, 0)
    assert "constant on lamp3 has no likelihood" in (folders / "with" / "comparison.md").read_text()


@pytest.mark.parametrize(("name", "flags"), [("with", []), ("without", ["--no-likelihood"])])
def test_the_option_names_the_cells_that_are_there(folders, capfd, name, flags):
    result = CliRunner().invoke(app, [*ASKED, *flags, "--out", str(folders / name), "--dry-run"])
    assert result.exit_code == 0, result.exception
    assert (result.output + capfd.readouterr().out).count("finished") == 2


def test_a_folder_with_it_is_none_without_it(folders):
    result = CliRunner().invoke(app, [*ASKED, "--no-likelihood", "--out", str(folders / "with"), "--dry-run"])
    assert isinstance(result.exception, HarnessError)
    assert "differs in likelihood" in str(result.exception)
