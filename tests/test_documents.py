"""What the documents name exists: paths of this repository, and the targets of their links."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = "harness|methods|tasks|leaderboards|tests|benchmarks|docs"
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "tasks/synthetic/*/*.md") for path in sorted(ROOT.glob(pattern))]


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_path_of_the_repository_exists(document: Path) -> None:
    text = re.sub(r"\S+://\S+", "", document.read_text(encoding="utf-8"))
    named = set(re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*", text))
    assert {path for path in named if not (ROOT / path.rstrip(".")).exists()} == set()


def test_every_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    here = {target for target in targets if "://" not in target}
    assert {target for target in here if not (document.parent / target).exists()} == set()


def test_the_modules_of_a_step_lie_beside_the_file_that_it_names() -> None:
    """The map of CONTRIBUTING.md names neighbours of a step's file by their base name alone."""
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    steps = [(line, path) for line in lines for path in re.findall(r"^\| [\w,& ]+ \| `([\w/]+\.py)` \|", line)]
    assert len(steps) > 5
    for line, path in steps:
        neighbours = re.findall(r"`(\w+\.py)`", line)
        assert [name for name in neighbours if not (ROOT / path).with_name(name).exists()] == [], path


def test_the_list_of_documents_is_whole() -> None:
    listed = set(re.findall(r"\]\(([^)]+)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    there = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".yml")} - {"README.md"}
    assert there <= listed


def test_the_memory_that_the_preset_small_is_said_to_take_is_the_most_of_the_records() -> None:
    text = (ROOT / "docs" / "small-preset.md").read_text(encoding="utf-8")
    [said] = re.findall(r"no cell of SmolLM2 on the leaderboard has taken more than ([\d.]+) GiB", text)
    records = [json.loads(path.read_text()) for path in (ROOT / "leaderboards" / "records").glob("smollm2-135m-*.json")]
    most = max(result["peak_memory_bytes"] for record in records for result in record["results"]) / 2**30
    assert most <= float(said) < most + 0.1
