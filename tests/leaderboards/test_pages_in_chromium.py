"""The site as a person meets it, in a real headless Chromium."""

import time

import pytest

from harness.leaderboards.recording import add
from harness.leaderboards.site import build
from tests.leaderboards import browser

pytestmark = pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.MISSING)

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
VARIANT = "chameleon:note=<script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def site(runs, tmp_path_factory):
    """Two runs, one of another budget and model, with markup in an answer, a gold answer and a method's variant."""
    root = tmp_path_factory.mktemp("leaderboard")
    methods = {"instruct": 0.3, "chameleon": 0.95, VARIANT: 0.9, "constant": 0.1}
    add(runs(qualities=methods, answer=HOSTILE), root / "records")
    other = runs(qualities={"instruct": 0.5, "dpo": 0.6}, tasks=("lamp2",))
    for name in ("run.json", "comparison.json"):
        text = (other / name).read_text()
        changed = text.replace('"budget":60.0', '"budget":20.0').replace('"model":"tiny-llama"', '"model":"big-llama"')
        assert changed != text
        (other / name).write_text(changed)
    add(other, root / "records")
    build(root / "records", root / "site")
    return root / "site"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(chromium, site):
    """The table, freshly opened; whatever a test does must leave the console silent and ask for files only."""
    chromium.get("about:blank")
    chromium.get_log("browser")
    browser.requests(chromium)
    browser.show(chromium)
    chromium.get((site / "index.html").as_uri())
    yield chromium
    assert chromium.get_log("browser") == []
    asked = browser.requests(chromium)
    assert asked
    assert all(address.startswith(site.as_uri()) for address in asked), asked
    assert chromium.execute_script("return window.hacked") is None


def column(page, key, *bodies):
    """A value of every row that is shown, from the top; of what was measured, unless bodies of the table are named."""
    rows = ", ".join(f"#{body} tr:not([hidden])" for body in bodies or ("ours", "instruments"))
    return page.execute_script(
        f"return [...document.querySelectorAll('{rows}')].map((row) => row.dataset.{key} ?? null)"
    )


def choose(page, name, value):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("name", name)).select_by_value(value)


def head(page, key):
    return page.find_element("css selector", f"th[data-key={key}]")


def press(page, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def overflow(page):
    return page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 100 seconds")


def test_the_page_shows_every_result_and_a_plot_per_run_and_task(page):
    assert page.title == "Personalization leaderboard"
    assert len(column(page, "method")) == 10
    assert len(page.find_elements("css selector", "#charts svg.plot")) == 3
    assert "Showing 10 of 10 results" in page.find_element("id", "count").text
    assert "Test instrument" in page.find_element("css selector", ".warning").text


def test_a_click_on_a_header_sorts_and_a_second_one_turns_the_order(page):
    before = column(page, "fit", "instruments")
    header = head(page, "fit")
    header.find_element("tag name", "button").click()
    falling = [float(value) for value in column(page, "fit", "instruments")]
    assert falling == sorted(map(float, before), reverse=True) != [float(value) for value in before]
    assert header.get_attribute("aria-sort") == "descending"
    header.find_element("tag name", "button").click()
    assert [float(value) for value in column(page, "fit", "instruments")] == sorted(falling)
    assert header.get_attribute("aria-sort") == "ascending"
    assert head(page, "method").get_attribute("aria-sort") == "none"


def test_real_models_stay_above_the_instruments_whatever_the_order(page):
    for _ in range(2):
        head(page, "score").find_element("tag name", "button").click()
        assert column(page, "model") == ["big-llama"] * 2 + ["tiny-llama"] * 8


def test_scores_are_sorted_task_by_task(page):
    head(page, "score").find_element("tag name", "button").click()
    tasks, scores = column(page, "task", "instruments"), [float(x) for x in column(page, "score", "instruments")]
    assert tasks == sorted(tasks)
    for task in set(tasks):
        own = [score for name, score in zip(tasks, scores, strict=True) if name == task]
        assert own == sorted(own, reverse=True)


def test_reported_rows_stay_below_ours_whatever_the_order(page):
    head(page, "score").find_element("tag name", "button").click()
    kinds = page.execute_script(
        "return [...document.querySelectorAll('#board tr[data-kind]')].map((r) => r.dataset.kind)"
    )
    assert "reported" in kinds
    assert set(kinds[kinds.index("reported") :]) == {"reported"}


@pytest.mark.parametrize(
    ("name", "value", "rows"),
    [
        ("task", "lamp3", 4),
        ("model", "big-llama", 2),
        ("budget", "20", 2),
        ("kind", "control", 2),
        ("kind", "reported", 0),
    ],
)
def test_a_filter_leaves_the_rows_that_match(page, name, value, rows):
    choose(page, name, value)
    assert column(page, name) == [value] * rows
    assert set(column(page, name, "reported")) <= {value}
    assert f"Showing {rows} of 10 results" in page.find_element("id", "count").text
    assert page.find_element("id", "pareto").is_displayed() == bool(rows)


def test_filters_combine_and_clear(page):
    choose(page, "task", "lamp2")
    choose(page, "kind", "method")
    assert sorted(set(column(page, "method"))) == ["chameleon", VARIANT, "dpo"]
    assert len(page.find_elements("css selector", "#charts svg.plot")) == 2
    page.find_element("css selector", "#filters button").click()
    until(lambda: len(column(page, "method")) == 10)


def test_a_view_can_be_linked(page, site):
    choose(page, "task", "lamp3")
    head(page, "fit").find_element("tag name", "button").click()
    address, rows = page.current_url, column(page, "method")
    page.get("about:blank")
    page.get(address)
    assert column(page, "method") == rows
    assert head(page, "fit").get_attribute("aria-sort") == "descending"


def test_the_keyboard_alone_sorts_and_the_focus_is_visible(page):
    from selenium.webdriver.common.keys import Keys

    def focused():
        return page.execute_script("return document.activeElement.closest('th')?.dataset.key ?? ''")

    for _ in range(40):
        press(page, Keys.TAB)
        if focused() == "tokens":
            break
    assert focused() == "tokens"
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(page, Keys.ENTER)
    assert head(page, "tokens").get_attribute("aria-sort") == "descending"
    press(page, Keys.SPACE)
    assert head(page, "tokens").get_attribute("aria-sort") == "ascending"
    assert focused() == "tokens"


def test_the_first_plots_are_of_every_task_and_of_the_runs_with_most_methods(page):
    page.execute_script("""
        const body = document.getElementById("ours"), [row] = body.rows;
        const add = (run, task, count) => {
            for (const _ of Array(count)) {
                const copy = body.appendChild(row.cloneNode(true));
                Object.assign(copy.dataset, { run, task, setting: run });
            }
        };
        for (let number = 0; number < 20; number += 1) add(`few ${number}`, "lamp3", 1);
        add("many", "lamp3", 3);
        add("another task", "lamp7", 1);
        document.dispatchEvent(new CustomEvent("rows-changed", { detail: [...body.rows] }));
    """)
    captions = [one.text for one in page.find_elements("css selector", "#charts figcaption")]
    assert captions[1:4] == ["lamp3 many", "lamp7 another task", "lamp3 few 0"]
    assert len(captions) == 12


def test_the_cost_of_the_plots_can_be_chosen(page):
    page.find_element("css selector", "#cost option[value=stored]").click()
    labels = [one.get_attribute("aria-label") for one in page.find_elements("css selector", "#charts svg.plot")]
    assert labels == [f"{metric} against bytes stored by the fit" for metric in ("accuracy", "accuracy", "mae")]


def test_the_front_joins_the_methods_that_no_other_beats(page):
    choose(page, "task", "lamp3")
    front = page.find_element("css selector", "[aria-description='Pareto front'] path").get_attribute("d")
    assert front.count("H") + front.count("L") >= 1  # from instruct, which is free, to chameleon, which is better


def test_no_control_is_on_the_front(page):
    choose(page, "task", "lamp3")
    page.execute_script("""
        const rows = [...document.querySelectorAll("#ours tr, #instruments tr")].filter((row) => !row.hidden);
        Object.assign(rows.find((row) => row.dataset.kind === "control").dataset, { score: "0.01", fit: "0" });
        document.getElementById("cost").dispatchEvent(new Event("change"));
    """)
    front = page.find_element("css selector", "[aria-description='Pareto front'] path").get_attribute("d")
    assert front.count("H") + front.count("L") >= 1  # else the control, which is free and the best, would be all of it


def test_markup_in_a_method_an_answer_and_a_gold_answer_stays_text(page):
    assert VARIANT in column(page, "method")
    page.find_element("link text", "chameleon").click()
    answers = [one.text for one in page.find_elements("css selector", ".samples dd")]
    assert answers.count(HOSTILE) >= 2
    assert page.find_elements("css selector", "main script, main img") == []


def test_a_methods_page_shows_configuration_and_provenance(page):
    row = page.find_element("css selector", "#instruments tr[data-method='" + VARIANT + "']")
    row.find_element("link text", "chameleon").click()
    until(lambda: page.find_elements("css selector", "h1"))
    assert "<script>" in page.find_element("css selector", "h1").text
    text = page.find_element("tag name", "main").text
    for heading in ("Results", "Sample answers", "Configuration", "Provenance"):
        assert heading in text
    assert "code sha256" in text
    page.find_element("link text", "All methods").click()
    until(lambda: page.title == "Personalization leaderboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["", "methods", "runs"])
def test_no_page_is_wider_than_a_phone(page, site, scheme, kind):
    browser.show(page, 390, 844, scheme)
    for path in sorted((site / kind).glob("*.html")):
        page.get(path.as_uri())
        assert overflow(page) == 0, path
        assert page.execute_script("return innerWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(page, site, scheme):
    browser.show(page, scheme=scheme)
    assert contrast(page)["page"] == {"light": [255, 255, 255], "dark": [20, 23, 27]}[scheme]
    for path in (site / "index.html", next((site / "methods").glob("chameleon-*.html"))):
        page.get(path.as_uri())
        found = contrast(page)["texts"]
        assert len(found) > 50
        assert [one for one in found if one[1] < 4.5] == []


def contrast(page):
    """WCAG 2 contrast of each element that holds text against the nearest background behind it."""
    return page.execute_script("""
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
          const x = c[i] / 255;
          return sum + weight * (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        }, 0);
        const behind = (element) => {
          for (let e = element; e; e = e.parentElement) {
            const color = rgb(getComputedStyle(e).backgroundColor);
            if (color[3] !== 0) return color;
          }
        };
        const texts = [...document.querySelectorAll("body *")]
          .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
          .map((e) => {
            const style = getComputedStyle(e);
            const ink = rgb(e.namespaceURI.endsWith("svg") ? style.fill : style.color);
            const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
            return [`${e.tagName} ${e.className?.baseVal ?? e.className} ${e.textContent}`, (a + 0.05) / (b + 0.05)];
          });
        return { page: rgb(getComputedStyle(document.body).backgroundColor), texts };
    """)
