"""The site as files: what the pages say, that user-written text stays text, and the commands around it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.leaderboards import paper
from harness.leaderboards.page_filters import FILTERS
from harness.leaderboards.recording import add, read_records, record
from harness.leaderboards.site import build, render
from harness.leaderboards.views import departures, flat, slug
from tests.processes import started

HARNESS = (Path(sys.executable).with_name("harness"),)


def leaderboard(*arguments, **options):
    """A command in a process of its own."""
    command = [*HARNESS, "leaderboard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)


class Page(HTMLParser):
    """The tags and attributes of a page, its texts, and the values that attributes carry."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.values = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))
        self.values += [value for _, value in attributes]

    def handle_data(self, data):
        self.texts.append(data)


def with_text(found, text):
    """The record with `text` wherever a user, a model or a plug-in may have written something."""
    values = found.model_dump(mode="json")
    one = values["results"][1]
    one |= {"variant": text, "reason": text, "status": "failed", "config": {"note": {text: text}}}
    one["samples"] = [{"query": text, "output": text, "prediction": "p", "gold": text, "parsed": True}]
    values["setting"] |= {"model": text, "data": text, "split": text, "preset": text, "everything": {"note": text}}
    values["notes"] = [text]
    values["rankings"] = []
    values["provenance"] |= {"hardware": {"device": text}, "versions": {"torch": text}, "git": {"commit": text}}
    return type(found).model_validate(values)


@pytest.fixture
def kept(run):
    return record(run("kept", {"instruct": 0.3, "chameleon": 0.9}))


def pages_with(kept, text):
    return [Page(page) for page in render([with_text(kept, text)]).values()]


def test_no_text_adds_a_tag_or_an_attribute(kept):
    def tags(text):  # the mark before it keeps the text from being a name that the pages know, such as a method's
        return sorted(sorted(page.tags) for page in pages_with(kept, f"~{text}"))

    plain = tags("tweet")

    @given(text=st.text(min_size=1, max_size=40))
    @example(text="<script>alert(1)</script>")
    @example(text="\"' onmouseover=alert(1) x='")
    @example(text="</title><img src=x onerror=alert(1)>")
    @example(text="{{ 7 * 7 }}{% raw %}")
    @settings(max_examples=10, deadline=None)
    def check(text):
        assert tags(text) == plain

    check()


def test_what_a_user_wrote_is_shown_as_written(kept):
    tweet = "<script>alert('hi')</script> & <b>bold</b> {{ 7 * 7 }}"
    shown = [page for page in pages_with(kept, tweet) if tweet in page.texts]
    assert len(shown) == 5  # every page: the table, instruct's, chameleon's, the variant's and the run's


@given(labels=st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
@example(labels=["chameleon:edit=both", "chameleon-edit-both"])
@example(labels=["Aloe", "aloe"])
@example(labels=["../../etc/passwd", "..\\..\\etc\\passwd"])
def test_different_labels_have_different_safe_file_names(labels):
    first, second = map(slug, labels)
    assert first != second
    for name in (first, second):
        assert re.fullmatch(r"[a-z0-9_-]{1,70}", name)
        assert not name.startswith("-")


def test_nested_settings_are_shown_with_dotted_names():
    assert flat({"ccs": {"epochs": 3, "extra": {}}, "edit": "both"}) == {
        "ccs.epochs": 3,
        "ccs.extra": {},
        "edit": "both",
    }


def test_marks_stand_at_the_best_and_the_tied_of_each_run(run, tmp_path):
    folder = run(qualities={"instruct": 0.2, "chameleon": 0.95, "dpo": 0.94, "constant": 0.1}, tasks=("lamp2",))
    page = render([record(folder)])["index.html"]
    ranking = json.loads((folder / "comparison.json").read_text())["rankings"][0]
    marks = dict(re.findall(r'data-method="(\w+)"[^>]*?data-mark="(\w*)"', page))
    assert marks == {
        label: "best" if label == ranking["best"] else "tied" if label in ranking["tied"] else ""
        for label in ("instruct", "chameleon", "dpo", "constant")
    }
    assert sorted(marks.values()) == ["", "", "best", "tied"]


@pytest.fixture
def controlled(run):
    return record(
        run("controlled", {"instruct": 0.3, "aloe": 0.95, "shuffled_aloe": 0.9, "constant": 0.1}, tasks=("lamp2",))
    )


def cells_of_controls(page):
    """Of the table of controls, by method and metric the text of each cell."""
    table = page.split('<table class="controls">')[1].split("</table>")[0]
    found, method = {}, ""
    for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]:
        method = (re.findall(r"methods/(\w+)\.html", row) or [method])[0]
        *_, metric = re.findall(r'<td class="text">(\w+)', row)
        found[method, metric] = re.findall(r'<td class="number">(.*?)</td>', row, re.DOTALL)
    return found


def test_a_run_shows_each_method_less_its_controls_and_what_is_beyond_chance(controlled):
    page = render([controlled])[f"runs/{controlled.id}.html"]
    assert re.findall(r">Less (\w+)<", page) == ["shuffled_aloe", "constant"]
    cells = cells_of_controls(page)
    assert set(cells) == {(name, metric) for name in ("instruct", "aloe") for metric in ("accuracy", "f1")}
    tests = next(one for one in controlled.results if one.label == "aloe").scores["accuracy"].vs_controls
    verdicts = {label: "better" if test.p_holm < 0.05 else "" for label, test in tests.items()}
    assert verdicts == {"shuffled_aloe": "", "constant": "better"}
    for text, (label, test) in zip(cells["aloe", "accuracy"], tests.items(), strict=True):
        assert f'<span class="value {verdicts[label]}">{FILTERS["signed"](test.difference)}' in text
        assert escape(FILTERS["p_value"](test.p_holm)) in text
        size = test.minimum_detectable
        assert re.findall("detectable ([^<]+)", text) == ([] if size is None else [FILTERS["number"](size)])
    assert tests["constant"].minimum_detectable is not None
    assert cells["instruct", "accuracy"][0] == '<span class="none">–</span>'


def test_what_beats_every_control_by_the_main_metric_is_marked_and_nothing_else(controlled):
    def marked(record):
        rows = re.findall(r'data-method="(\w+)"(.*?)</tr>', render([record])["index.html"], re.DOTALL)
        return {name: re.findall(r">(beats [^<]+)<", row) for name, row in rows if "mark beats" in row}

    assert marked(controlled) == {"instruct": ["beats 1 control"]}  # aloe is not told from its own control
    values = controlled.model_dump(mode="json")
    aloe = values["results"][1]
    aloe["scores"]["accuracy"]["vs_controls"]["shuffled_aloe"]["p_holm"] = 0.01
    told = type(controlled).model_validate(values)
    assert marked(told) == {"instruct": ["beats 1 control"], "aloe": ["beats 2 controls"]}
    aloe["status"], values["rankings"] = "overran", []
    assert set(marked(type(controlled).model_validate(values))) == {"instruct"}


def test_less_under_a_metric_of_which_less_is_better_beats_a_control(run):
    found = record(run(qualities={"instruct": 0.3, "aloe": 0.95, "constant": 0.1}, tasks=("lamp3",)))
    page = render([found])[f"runs/{found.id}.html"]
    [text] = cells_of_controls(page)["aloe", "mae"]
    assert re.search(r'class="value better">−\d', text)


def test_a_record_without_tests_against_controls_shows_no_table_of_them(kept):
    assert "Against their controls" not in render([kept])[f"runs/{kept.id}.html"]


def test_the_name_of_a_control_is_shown_as_written(controlled):
    def pages(text):
        values = controlled.model_dump(mode="json")
        values["results"][2]["variant"], values["rankings"] = text, []
        for score in values["results"][1]["scores"].values():
            score["vs_controls"][f"shuffled_aloe:{text}"] = score["vs_controls"].pop("shuffled_aloe")
        return [Page(page) for page in render([type(controlled).model_validate(values)]).values()]

    hostile = "<script>alert('hi')</script>\" onmouseover=alert(1) x='{{ 7 * 7 }}"
    shown = pages(hostile)
    assert any(f"Less shuffled_aloe:{hostile}" in page.texts for page in shown)
    assert sorted(sorted(page.tags) for page in shown) == sorted(sorted(page.tags) for page in pages("plain"))


def test_what_overran_stands_below_what_ranks_in_its_run(kept):
    values = kept.model_dump(mode="json")
    values["rankings"] = []
    for result in values["results"]:
        if result["method"] == "chameleon":
            result["status"] = "overran"
    page = render([type(kept).model_validate(values)])["index.html"]
    assert re.findall(r'data-task="(\w+)"[^>]*?data-method="(\w+)"[^>]*?data-ranks', page) == [
        ("lamp2", "instruct"),
        ("lamp2", "chameleon"),
        ("lamp3", "instruct"),
        ("lamp3", "chameleon"),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "p < 0.001"), (0.0496, "p = 0.0496"), (0.0504, "p = 0.0504"), (0.2, "p = 0.2")]
)
def test_a_p_near_the_level_shows_on_which_side_it_is(value, text):
    assert FILTERS["p_value"](value) == text


def test_reported_rows_stand_apart_and_carry_no_mark(kept):
    page = render([kept])["index.html"]
    ours, reported = page.split('<tbody id="reported">')
    entries = json.loads(paper.FILE.read_text())["entries"]
    rows = {tuple(e.get(k) for k in ("experiment", "task", "model", "method", "variant", "regime")) for e in entries}
    assert reported.count('<tr class="reported"') >= len(rows) > 0
    assert "Not ranked" in ours
    assert "mark" not in reported.split("</tbody>")[0]
    assert '<tr class="reported"' not in ours


def test_the_settings_of_reported_numbers_make_rows_of_their_own(tmp_path, monkeypatch, kept):
    entry = {"experiment": "figure3", "task": "lamp2", "model": "mistral", "method": "chameleon", "variant": ""}
    entries = [
        {**entry, "regime": "seen", "metric": metric, "value": value, "setting": {"group_size": size}}
        for size, value in ((1, 0.2), (20, 0.3))
        for metric in ("accuracy", "f1")
    ]
    (tmp_path / "paper.json").write_text(json.dumps({"source": "A paper", "entries": entries}))
    monkeypatch.setattr(paper, "FILE", tmp_path / "paper.json")
    _, rows = paper.read_paper()
    assert [(row.setting, row.metrics) for row in rows] == [
        ("group size 1", {"accuracy": 0.2, "f1": 0.2}),
        ("group size 20", {"accuracy": 0.3, "f1": 0.3}),
    ]
    assert "group size 20" in render([kept])["index.html"]


def test_a_package_without_the_papers_numbers_builds_too(tmp_path, monkeypatch, kept):
    monkeypatch.setattr(paper, "FILE", tmp_path / "paper.json")
    assert 'id="reported"' not in render([kept])["index.html"]


def test_pages_name_no_address_outside_the_site(run, tmp_path):
    add(run(), tmp_path / "records")
    build(tmp_path / "records", tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        for value in Page(path.read_text()).values:
            assert not re.match(r"(\w+:)?//|data:|javascript:", value or ""), path
    assert not re.search(r"@import|url\(", (tmp_path / "site" / "assets" / "site.css").read_text())


def test_every_link_leads_to_a_page_that_is_there(run, tmp_path):
    add(run(qualities={"instruct": 0.3, "chameleon": 0.9, "chameleon:edit=both": 0.9}), tmp_path / "records")
    build(tmp_path / "records", tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#]+)"', path.read_text()):
            assert (path.parent / target).is_file(), f"{path}: {target}"


def test_building_again_leaves_no_page_of_a_record_that_is_gone(run, tmp_path):
    path, _ = add(run(), tmp_path / "records")
    other, _ = add(run("other", {"instruct": 0.3, "dpo": 0.5}), tmp_path / "records")
    build(tmp_path / "records", tmp_path / "site")
    assert (tmp_path / "site" / "methods" / "dpo.html").exists()
    other.unlink()
    build(tmp_path / "records", tmp_path / "site")
    assert not (tmp_path / "site" / "methods" / "dpo.html").exists()
    assert (tmp_path / "site" / "runs" / f"{path.stem}.html").exists()


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    add(run(), tmp_path / "records")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match="holds no earlier site"):
        build(tmp_path / "records", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_no_record_says_what_to_do(tmp_path):
    (tmp_path / "records").mkdir()
    with pytest.raises(HarnessError, match="harness leaderboard add"):
        build(tmp_path / "records", tmp_path / "site")


def test_the_commands_add_and_build_in_the_current_folder(run, tmp_path):
    folder, there = run(), tmp_path / "there"
    there.mkdir()
    for expected in ("added", "unchanged"):
        done = leaderboard("add", folder, cwd=there)
        assert done.stdout.startswith(f"{expected}: leaderboards/records/tiny-llama-seen-60s-"), done.stderr
    assert leaderboard("build", cwd=there).returncode == 0
    assert (there / "site" / "index.html").exists()
    assert len(read_records(there / "leaderboards" / "records")) == 1


def test_a_bad_run_is_one_sentence_and_status_2(tmp_path):
    done = leaderboard("add", tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"Error: There is no .*run\.json\. .*\n", done.stderr)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_shows_the_site_until_stopped(run, tmp_path, stop):
    add(run(), tmp_path / "records")
    command = [*HARNESS, "leaderboard", "serve", "--port", "0", "--records", tmp_path / "records"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with started(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline()).group()
        for page in ("", "methods/chameleon.html", "assets/table.js"):
            with urllib.request.urlopen(address + page, timeout=100) as answer:
                assert answer.status == 200
                assert answer.read()  # who leaves in the middle of a page breaks the server's connection
        server.send_signal(stop)
        out, err = server.communicate(timeout=100)
    assert (server.returncode, out, err) == (0, "Stopped.\n", "")


def test_a_port_that_is_taken_is_one_sentence_and_status_2(run, tmp_path):
    add(run(), tmp_path / "records")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = leaderboard("serve", "--port", port, "--records", tmp_path / "records")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"Error: Cannot listen on port {port}: [^.]+\. Choose another --port\.\n", done.stderr)


def test_a_run_that_overrides_nothing_departs_in_nothing_by_that(kept):
    records = []
    for number, overrides in enumerate(({}, {}, {"chameleon": {"group_size": 20}})):
        values = kept.model_dump(mode="json")
        values |= {"id": f"run-{number}", "setting": values["setting"] | {"everything": {"overrides": overrides}}}
        records.append(type(kept).model_validate(values))
    assert departures(records) == {"run-0": "", "run-1": "", "run-2": "chameleon.group_size 20"}


def test_rows_say_in_what_their_run_departs_from_the_others(run, tmp_path):
    records = tmp_path / "records"
    for name, history in (("a", 10), ("b", 10), ("c", 4)):
        folder = run(name)
        for file in (folder / "run.json", folder / "comparison.json"):
            content = json.loads(file.read_text())
            content["spec"] |= {"history": history, "data": name}
            file.write_text(json.dumps(content))
        add(folder, records)
    found = read_records(records)
    shown = {one.setting.data: departures(found)[one.id] for one in found}
    assert shown["c"].endswith("history 4")
    assert "history" not in shown["a"] + shown["b"]
    assert "history 4" in render(found)["index.html"]
