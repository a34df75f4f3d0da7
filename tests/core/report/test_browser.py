"""The page in a real browser, where Chromium is installed: what its scripts do, and its layout.

Driven as a reader would, by keys and the mouse. No script of the page may complain, also where a
method has a hostile name, and axe-core finds nothing that keeps people from reading. Left out: how
the page looks, which a person has to see.
"""

import re
from io import BytesIO

import pytest
from PIL import Image

from supreme_core.report.page import render_report
from tests.core.analysis.summaries import summary
from tests.core.analysis.test_training_curves import curve, halving
from tests.core.analysis.test_training_curves import found as curves_of
from tests.core.report.axe import axe, give_up
from tests.core.report.browser import CHROMIUM, chromium

EVIL = "</script><img src=x onerror=document.title='evil'>"
METHODS = tuple(f"m{number}" for number in range(13))
SEEDS = 5

DESK, TELEPHONE = (1400, 900), (400, 900)

TABLE = "document.querySelector('table.sortable')"
HEADS = f"{TABLE}.tHead.rows[0].cells"
SHOWN = f"[...{TABLE}.tBodies[1].rows].filter((row) => !row.hidden)"
NAMES = f"{SHOWN}.map((row) => row.cells[0].textContent)"
FILTER = "document.querySelector('.tools input[type=search]')"
FIGURE = "document.querySelector('.first .plot svg')"
ACROSS, UP = (f"document.querySelectorAll('.axes select')[{place}]" for place in (0, 1))
M1 = f"[...{TABLE}.querySelectorAll('tbody button')].find((each) => each.textContent === 'm1')"
POINTS = "[...document.querySelectorAll('.first :is(use, circle)')]"
POINT = f"{POINTS}.find((each) => each.textContent.startsWith('m1, '))"

pytestmark = pytest.mark.usefixtures("plots_once")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One tab of one browser."""
    if CHROMIUM is None:
        give_up("Chromium is not installed")
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of two scenarios with curves, in which one method of 13 has a hostile name, and the
    furthest two lost the task."""
    found = summary(range(SEEDS), scenarios=("a", "b"), methods=METHODS)
    evil = [row.model_copy(update={"method": EVIL}) for row in found.rows if row.method == "m12"]
    rows = [*(row for row in found.rows if row.method != "m12"), *evil]
    path = tmp_path_factory.mktemp("page") / "report.html"
    results = {seed: f"seed={seed}/attempt=0/result.json" for seed in range(SEEDS)}
    curves = curves_of(lambda seed, scenario, method: [curve(halving(20, 8))])
    lost = {"m11": {"collapsed": 2}, "m12": {"method": EVIL, "collapsed": SEEDS}}
    rates = [rate.model_copy(update=lost.get(rate.method)) for rate in found.collapse_rates]
    found = found.model_copy(
        update={"rows": rows, "training_curves": curves, "collapse_rates": rates}
    )
    path.write_bytes(render_report(found, folder="experiments/local/x-1", results=results))
    return path


@pytest.fixture
def desk(browser, page):
    """The page on a desk; at the end its scripts must not have complained."""
    browser.open(page, *DESK)
    yield browser
    assert browser.complaints == []
    assert browser.run("document.title") == "tiny: unlearning report"


def choose(tab, select, option):
    """Choose as a keyboard does; the option is given as `group: title`."""
    tab.run(
        f"(() => {{ const it = {select}; it.value = [...it.options].find((each) =>"
        f" `${{each.parentElement.label ?? ''}}: ${{each.text}}` === {option!r}).value;"
        " it.dispatchEvent(new Event('change')); })()"
    )


def test_the_answer_is_on_one_screen(desk):
    bottom = "(query) => document.querySelector(query).getBoundingClientRect().bottom"
    for part in (".answers", ".first svg", "table.sortable thead"):
        assert desk.run(f"({bottom})({part!r})") < DESK[1]


def test_the_table_is_sorted_by_each_column_and_references_stay_on_top(desk):
    nearest = desk.run(NAMES)
    assert EVIL in nearest
    desk.click(f"{HEADS}[0].querySelector('button')")
    by_name = desk.run(NAMES)
    assert sorted(nearest) == sorted(by_name) != nearest
    desk.click(f"{HEADS}[0].querySelector('button')")
    assert desk.run(NAMES) == by_name[::-1]
    desk.click(f"{HEADS}[1].querySelector('button')")
    assert desk.run(NAMES) == nearest
    assert desk.run(f"{TABLE}.querySelectorAll('[aria-sort]').length") == 1
    references = desk.run(f"[...{TABLE}.tBodies[0].rows].map((row) => row.cells[0].textContent)")
    assert references == ["Original", "Retrained"]


def test_the_table_is_filtered_and_loses_columns(desk):
    desk.click(FILTER)
    desk.type("m1")
    assert sorted(desk.run(NAMES)) == ["m1", "m10", "m11"]
    assert desk.run("document.querySelector('.tools output').textContent") == "3 of 13"
    shown = f"[...{HEADS}].filter((head) => !head.hidden).length"
    before = desk.run(shown)
    desk.click("document.querySelector('.tools summary')")
    desk.click("document.querySelector('.tools input[type=checkbox]')")
    assert desk.run(shown) == before - 1


def test_a_click_on_a_method_shows_its_seeds_until_the_table_is_sorted_anew(desk):
    desk.click(M1)
    assert desk.run("[...document.querySelectorAll('.detail dt')].map((it) => it.textContent)") == [
        "Forget accuracy, gap to Retrained",
        "Test accuracy, gap to Retrained",
        "Forget JS divergence",
        "MIA loss AUC, gap to Retrained",
    ]
    for values in desk.run(
        "[...document.querySelectorAll('.detail dd')].map((it) => it.textContent)"
    ):
        assert re.fullmatch(r"(seed \d+: −?\d+(\.\d+)?( \w+)?( · |$)){5}", values)
    desk.click(f"{HEADS}[0].querySelector('button')")
    assert desk.run("document.querySelectorAll('.detail').length") == 0


def test_pointing_at_a_seed_names_it(desk):
    x, y = desk.middle(POINT)
    assert re.fullmatch(
        r"m1, seed \d: −?\d+\.\d\d points",
        desk.run(f"document.elementFromPoint({x}, {y}).textContent"),
    )


def test_a_click_on_a_seed_is_one_on_its_method(desk):
    choose(desk, ACROSS, "value: Test accuracy")
    desk.click(POINT)
    assert desk.run(f"{M1}.getAttribute('aria-expanded')") == "true"
    pale = f"[...{FIGURE}.querySelectorAll('g')].filter((it) => it.getAttribute('opacity') < 1)"
    assert desk.run(f"{pale}.length") == 1 + len(METHODS)


def test_every_figure_is_saved_as_svg_and_png_with_the_colours_of_the_page(desk):
    desk.run(
        "window.saved = []; const saving = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { saved.push(blob); return saving.call(URL, blob); };"
        "HTMLAnchorElement.prototype.click = () => {};"  # a download has no place to go
    )
    plots = desk.run("document.querySelectorAll('.plot').length")
    assert desk.run("document.querySelectorAll('.save button').length") == 2 * plots
    choose(desk, UP, "value: Test accuracy")  # a figure that a reader has made
    for place in (0, 1):
        desk.click(f"document.querySelectorAll('.first .save button')[{place}]")
    waiting = "new Promise((done) => { const look = () => saved.length > 1 ? done() :"
    desk.run(f"{waiting} setTimeout(look, 20); look(); }})")
    assert desk.run("saved.map((blob) => blob.type)") == ["image/svg+xml", "image/png"]
    assert desk.run("saved[1].size") > 10_000
    svg = desk.run("new Response(saved[0]).text()")
    assert svg.startswith("<svg")
    assert "Test accuracy" in svg
    assert 'fill="var(' not in svg


def test_a_reader_chooses_the_axes_of_the_figure(desk):
    given = desk.run(f"{FIGURE}.outerHTML")
    said = f"{FIGURE}.getAttribute('aria-label')"
    points = f"[...{FIGURE}.querySelectorAll('circle')].map((it) => it.textContent)"

    choose(desk, ACROSS, "value: Test accuracy")
    assert desk.run(said) == "Test accuracy, % of every seed, one line for each method"
    found = desk.run(points)
    assert len(found) == SEEDS * (2 + len(METHODS))
    assert any(re.fullmatch(r"Retrained, seed 0: \d+(\.\d+)? %", each) for each in found)

    choose(desk, UP, "gap to Retrained: MIA loss AUC, gap")
    legend = "document.querySelector('.first .legend li').textContent"
    assert desk.run(legend) == "one seed"
    title = "MIA loss AUC: gap to Retrained over Test accuracy, %, a point for each seed"
    assert desk.run(said) == title
    of_evil = f"{EVIL}, seed 0: "
    (said_of,) = (each for each in desk.run(points) if each.startswith(of_evil))
    number = r"−?\d+(\.\d+)?"
    assert re.fullmatch(f"{number} % across, {number} up", said_of.removeprefix(of_evil))

    choose(desk, UP, ": each method")
    choose(desk, ACROSS, "gap to Retrained: Forget accuracy, gap")
    assert desk.run(f"{FIGURE}.outerHTML") == given


@pytest.mark.parametrize("up", [": each method", "gap to Retrained: Forget accuracy, gap"])
def test_a_chosen_figure_marks_methods_whose_models_lost_the_task(desk, up):
    texts = f"[...{FIGURE}.querySelectorAll('text')].map((it) => it.textContent)"
    marks = {"m11 *", "* lost the task in some seed, ** in every seed"}
    assert marks <= {*desk.run(texts)}
    choose(desk, ACROSS, "value: Test accuracy")
    choose(desk, UP, up)
    assert marks <= {*desk.run(texts)}


def test_a_chosen_figure_has_the_numbers_of_the_one_that_is_drawn_without_scripts(desk):
    def said(query):
        texts = desk.run(f"[...document.querySelectorAll('{query}')].map((it) => it.textContent)")
        found = (re.fullmatch(r"(.*, seed \d+): (−?[\d.]+) points", text) for text in texts)
        return {each[1]: float(each[2].replace("−", "-")) for each in found if each}

    drawn = "#distance .plot[data-at] use title"
    desk.run(
        "const plot = [...document.querySelectorAll('#distance .plot')].find((it) =>"
        " it.firstChild.ariaLabel.startsWith('test accuracy')); plot.dataset.at = ''"
    )
    choose(desk, ACROSS, "gap to Retrained: Test accuracy, gap")
    chosen = said(".first .plot circle")
    assert len(chosen) == SEEDS * (1 + len(METHODS))  # 0 at Retrained, which has no line
    assert chosen == pytest.approx(said(drawn), abs=0.006)
    places = desk.run(
        f"[...{FIGURE}.querySelectorAll('circle')].map((it) => +it.getAttribute('cx'))"
    )
    in_order = [place for _, place in sorted(zip(chosen.values(), places, strict=True))]
    assert in_order == sorted(places)


def test_a_margin_that_is_narrow_among_the_values_can_be_seen_on_both_axes(desk):
    """Original is 90 margins away."""
    choose(desk, UP, "gap to Retrained: Forget accuracy, gap")
    band = f"[...{FIGURE}.querySelectorAll('rect[fill=\"var(--equivalent)\"]')]"
    sizes = desk.run(f"{band}.map((it) => [it.width.baseVal.value, it.height.baseVal.value])")
    assert len(sizes) == 2
    assert min(size for each in sizes for size in each) > 20
    numbers = f"[...{FIGURE}.querySelectorAll('text')].map((it) => it.textContent)"
    assert {"0", "10", "100"} <= set(desk.run(numbers))


def test_every_metric_can_be_each_axis(desk):
    """No combination is without a figure whose numbers are numbers."""
    wrong = desk.run(
        f"""(() => {{
          const wrong = [];
          const [across, up] = [{ACROSS}, {UP}];
          const choose = (select, value) => {{
            select.value = value;
            select.dispatchEvent(new Event("change"));
          }};
          for (const x of across.options) for (const y of up.options) {{
            choose(across, x.value);
            choose(up, y.value);
            const drawn = {FIGURE}.outerHTML;
            if (/NaN|Infinity|undefined/.test(drawn)) wrong.push([x.text, y.text]);
          }}
          return wrong;
        }})()"""
    )
    assert wrong == []


def test_all_that_can_be_done_is_reached_and_done_by_keys(desk):
    desk.run("document.body.tabIndex = -1; document.body.focus()")
    active = "document.activeElement"
    what = f"[{active}.tagName, {active}.className, {active}.textContent].join(' ')"
    reached = [""]
    while "SUMMARY  Definitions" not in reached[-1]:
        assert len(reached) < 300, reached
        desk.press("Tab")
        reached.append(desk.run(what))
    text = "\n".join(reached)
    for part in ("INPUT", "SELECT", "BUTTON  SVG", "BUTTON  m1\n", "SUMMARY  Columns", "Verdicts"):
        assert part in text, part
    fold = "document.getElementById('definitions').closest('details').open"
    assert not desk.run(fold)
    desk.press("Enter")
    assert desk.run(fold)
    desk.run(f"{M1}.focus()")
    desk.press("Space")
    assert desk.run("document.querySelectorAll('.detail').length") == 1
    desk.run(f"{HEADS}[0].querySelector('button').focus()")
    desk.press("Enter")
    assert desk.run(f"{HEADS}[0].getAttribute('aria-sort')")
    desk.run(f"{ACROSS}.focus()")
    before = desk.run(f"{FIGURE}.outerHTML")
    desk.press("ArrowDown")
    assert desk.run(f"{FIGURE}.outerHTML") != before


def test_a_link_opens_the_fold_that_it_leads_into(desk):
    desk.run("location.hash = '#files'")
    fold = "document.getElementById('files').closest('details').open"
    assert desk.run(f"new Promise((done) => setTimeout(() => done({fold}), 100))")
    desk.run("location.hash = '#%E0'; new Promise((done) => setTimeout(done, 50))")  # no complaint


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, TELEPHONE], ids=["desk", "telephone"])
def test_axe_finds_no_low_contrast_and_nothing_without_a_label(browser, page, size, dark):
    checks = axe()
    browser.open(page, *size, dark=dark)
    browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true;")
    browser.click(M1)
    choose(browser, UP, "gap to Retrained: MIA loss AUC, gap")
    browser.run(checks)
    found = browser.run("axe.run(document, { resultTypes: ['violations'] })")
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:5])
        for each in found["violations"]
    ] == []
    ran = {each["id"] for each in found["passes"]}
    assert {"color-contrast", "label", "select-name", "button-name", "svg-img-alt"} <= ran


@pytest.mark.parametrize("scrolled", [0, 80])
def test_the_rules_of_a_table_go_through_its_first_column_on_a_telephone(browser, page, scrolled):
    """The column stays where the table is scrolled, above the others."""
    browser.open(page, *TELEPHONE)
    browser.run(f"{TABLE}.scrollIntoView(); {TABLE}.parentElement.scrollLeft = {scrolled}")
    boxes = browser.run(
        f"{SHOWN}.slice(0, 5).map((row) => row.cells[0].getBoundingClientRect())"
        ".map(({ right, top }) => [right, top])"
    )
    shown = Image.open(BytesIO(browser.picture())).convert("L")
    for right, top in boxes:
        beside, beyond = (
            [shown.getpixel((x, round(top) + y)) for y in (-1, 0, 1)]
            for x in (round(right) - 3, round(right) + 12)
        )
        assert min(beside) == min(beyond) < max(beside)


def test_a_telephone_shows_the_page_without_scrolling_sideways(browser, page):
    browser.open(page, *TELEPHONE)
    for option in (": each method", "gap to Retrained: MIA loss AUC, gap"):
        choose(browser, UP, option)
        assert browser.run("document.documentElement.scrollWidth") <= TELEPHONE[0]
    assert browser.complaints == []
