"""The committed page on the paper's experiments says what the committed records say."""

from pathlib import Path

from harness.reproduction.experiment_spec import common, experiments
from harness.reproduction.page import joined
from harness.reproduction.reported import reported
from harness.reproduction.result import Reproduction

DOCS = Path(__file__).parents[2] / "docs"


def recorded():
    names = [spec.name for spec in experiments("all")]
    texts = [(DOCS / "reproduction" / f"{name}.json").read_text(encoding="utf-8") for name in names]
    return {name: Reproduction.model_validate_json(text) for name, text in zip(names, texts, strict=True)}


def test_the_page_is_made_from_the_records_and_its_plots_are_there():
    results = recorded()
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    assert page == joined(list(results.values()), common(), reported(), "reproduction/{name}.png")
    assert all((DOCS / "reproduction" / f"{name}.png").is_file() for name in results)


def test_the_times_that_a_dry_run_expects_are_those_that_were_measured():
    earlier = set()
    for spec in experiments("all"):
        cells = recorded()[spec.name].cells
        new = [spent for digest, spent in cells.items() if digest not in earlier]
        earlier |= set(cells)
        assert 0.7 < spec.overlay("tiny").seconds_per_cell / (sum(new) / len(new)) < 1.4
