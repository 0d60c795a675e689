"""The committed page on the paper's experiments says what the committed records say."""

from pathlib import Path

import pytest

from harness.reproduction.page import joined
from harness.reproduction.reported import reported
from harness.reproduction.result import Reproduction
from harness.reproduction.spec import common, experiments

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.skipif(not (DOCS / "reproduction").is_dir(), reason="no results are recorded yet")


def test_the_page_is_made_from_the_records_and_its_plots_are_there():
    names = [spec.name for spec in experiments("all")]
    texts = [(DOCS / "reproduction" / f"{name}.json").read_text(encoding="utf-8") for name in names]
    results = [Reproduction.model_validate_json(text) for text in texts]
    page = (DOCS / "reproduction.md").read_text(encoding="utf-8")
    assert page == joined(results, common(), reported(), "reproduction/{name}.png")
    assert all((DOCS / "reproduction" / f"{name}.png").is_file() for name in names)
