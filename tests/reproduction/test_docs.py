"""The committed pages on the paper's experiments say what the committed records say."""

from pathlib import Path

import pytest

from harness.reproduction.experiment_spec import common, experiments
from harness.reproduction.experiments import docs_page, read_docs
from harness.reproduction.forecast import Forecast, plans
from harness.reproduction.reproducing import choose

DOCS = Path(__file__).parents[2] / "docs"


PAGES = sorted(path.stem for path in DOCS.glob("reproduction*.md"))


def recorded():
    return {result.name: result for result in read_docs(DOCS / "reproduction")}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_made_from_the_records_and_its_plots_are_there(page):
    assert (DOCS / f"{page}.md").read_text(encoding="utf-8") == docs_page(DOCS / page)
    assert {path.stem for path in (DOCS / page).glob("*.png")} == {result.slug for result in read_docs(DOCS / page)}


def test_the_embedded_models_have_every_experiment():
    assert list(recorded()) == [spec.name for spec in experiments("all")]


def test_the_times_that_a_dry_run_expects_are_those_that_were_measured():
    earlier = set()
    for spec in experiments("all"):
        cells = recorded()[spec.name].cells
        new = [spent for digest, spent in cells.items() if digest not in earlier]
        earlier |= set(cells)
        assert 0.7 < spec.overlay("tiny").seconds_per_cell / (sum(new) / len(new)) < 1.4


@pytest.mark.parametrize("result", read_docs(DOCS / "reproduction-small"), ids=lambda result: result.slug)
def test_a_first_dry_run_expects_what_the_real_model_took_to_within_a_quarter(result, tmp_path):
    asked = result.settings
    given = {"tasks": ",".join(result.tasks), "users": asked["users"], "seeds": tuple(asked["seeds"])}
    if not result.layout.axis:  # the table may have more methods today
        given["methods"] = ",".join(dict.fromkeys(row.label for row in result.rows))
    if "budget" in result.departures:
        given["budget"] = asked["budget"]
    chosen = choose(result.name, "small", [], data="small-data", **given)
    expected = Forecast(tmp_path, common().paces).seconds(plans(chosen)[0].own, None)
    assert 0.75 < expected / sum(result.cells.values()) < 1.25
