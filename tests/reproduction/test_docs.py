"""The committed pages on the paper's experiments say what the committed records say."""

from pathlib import Path

import pytest

from harness.reproduction.experiment_spec import common, experiments
from harness.reproduction.page import joined
from harness.reproduction.reported import reported
from harness.reproduction.result import Reproduction

DOCS = Path(__file__).parents[2] / "docs"


PAGES = sorted(path.stem for path in DOCS.glob("reproduction*.md"))


def recorded(page="reproduction"):
    paths = {spec.name: DOCS / page / f"{spec.name}.json" for spec in experiments("all")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.exists()}
    return {name: Reproduction.model_validate_json(text) for name, text in texts.items()}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_made_from_the_records_and_its_plots_are_there(page):
    results = recorded(page)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert text == joined(list(results.values()), common(), reported(), page + "/{name}.png")
    assert all((DOCS / page / f"{name}.png").is_file() for name in results)


def test_the_embedded_models_have_every_experiment():
    assert list(recorded()) == [spec.name for spec in experiments("all")]


def test_the_times_that_a_dry_run_expects_are_those_that_were_measured():
    earlier = set()
    for spec in experiments("all"):
        cells = recorded()[spec.name].cells
        new = [spent for digest, spent in cells.items() if digest not in earlier]
        earlier |= set(cells)
        assert 0.7 < spec.overlay("tiny").seconds_per_cell / (sum(new) / len(new)) < 1.4
