"""Where LaMP's files are found: in the official layout, in mirrors of its host, and beside an earlier task."""

from pathlib import Path

import pytest

from harness.api import HarnessError, MissingError
from harness.tasks.lamp import Lamp2
from harness.tasks.lamp_directory import read
from harness.tasks.lamp_schema import SCHEMAS
from tests.tasks.made import outputs, question, write


@pytest.mark.parametrize("place", ["LaMP_2/new/dev", "LaMP_2/new", "LaMP_2/dev", "LaMP_2"])
@pytest.mark.parametrize("host", ["", "ciir.cs.umass.edu/downloads/LaMP", "downloads/LaMP", "mirror/a/b"])
def test_mirrors_of_the_host_are_read(tmp_path: Path, host: str, place: str) -> None:
    write(tmp_path / host / place)
    (tmp_path / "robots.txt").write_text("")
    assert len(read(SCHEMAS["lamp2"], tmp_path, "dev").queries) == 1


def test_a_mirror_beside_other_folders_is_read(tmp_path: Path) -> None:
    write(tmp_path / "ciir.cs.umass.edu" / "downloads" / "LaMP" / "LaMP_2" / "new" / "dev")
    (tmp_path / "notes").mkdir()
    assert len(read(SCHEMAS["lamp2"], tmp_path, "dev").queries) == 1


def test_a_mirror_of_the_files_by_time_is_known_as_such(tmp_path: Path) -> None:
    write(tmp_path / "ciir.cs.umass.edu" / "downloads" / "LaMP" / "time" / "LaMP_2" / "new" / "dev")
    assert read(SCHEMAS["lamp2"], tmp_path, "dev").separation == "time"


def test_the_folder_of_the_movie_tags_itself_is_accepted(tmp_path: Path) -> None:
    write(tmp_path / "LaMP_2" / "new" / "dev")
    assert len(read(SCHEMAS["lamp2"], tmp_path / "LaMP_2" / "new", "dev").queries) == 1


NEWS = "Which category does this article relate to? categories: [sports] article: a b"


def news(folder: Path, split: str = "dev") -> None:
    item = {"id": "1", "text": "t", "title": "h", "category": "sports"}
    write(folder, split, questions=[question(input=NEWS, profile=[item])], outputs=outputs(q1="sports"))


def test_movie_tags_are_read_beside_the_earlier_news_categories(tmp_path: Path) -> None:
    news(tmp_path / "LaMP_2" / "dev")
    write(tmp_path / "LaMP_2" / "new" / "dev")
    data = read(SCHEMAS["lamp2"], tmp_path, "dev")
    assert data.golds == {"q1": "sci-fi"}
    assert "these are the earlier news categories; the movie tags are in LaMP_2/new" in data.notes[0]


def test_news_categories_alone_are_named_for_what_they_are(tmp_path: Path) -> None:
    news(tmp_path / "LaMP_2" / "dev")
    with pytest.raises(HarnessError, match=r"dev_questions.json: these are the earlier news categories; the"):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_folders_of_other_names_are_listed_beside_those_that_are_read(tmp_path: Path) -> None:
    for name in ("lamp2", "LaMP-2", "LaMP_2_movies"):
        write(tmp_path / name)
    with pytest.raises(HarnessError, match=r"read: LaMP_1, .*, LaMP_7; there are: LaMP-2, LaMP_2_movies, lamp2\."):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


@pytest.mark.parametrize("place", ["", "LaMP_2"])
def test_the_tasks_that_are_there_are_named_where_another_is_asked_for(tmp_path: Path, place: str) -> None:
    write(tmp_path / "LaMP_2" / "new" / "dev")
    (tmp_path / "LaMP_7").mkdir()
    with pytest.raises(MissingError, match=r"no LaMP_3/.* What is there is read with --tasks lamp2\."):
        read(SCHEMAS["lamp3"], tmp_path / place, "dev")


def test_packed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "LaMP_2" / "dev").mkdir(parents=True)
    (tmp_path / "LaMP_2" / "dev" / "dev_questions.json.gz").write_bytes(b"")
    with pytest.raises(MissingError, match=r"There is dev_questions.json.gz: unpack it and its outputs\."):
        read(SCHEMAS["lamp2"], tmp_path, "dev")


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "lamp" / "LaMP_2")
    assert Lamp2().load("~/lamp", "dev").split == "dev"
    assert Lamp2().splits("~/lamp") == ("dev",)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        Lamp2().load("~nobody-of-this-name/lamp", "dev")
