"""The page, the plots in it and the terminal tables.

Covered: that every method, seed, failure and definition stands on the page; that foreign text stays
text; that the page needs nothing from outside and is the same bytes again; digits and units; notes
on few seeds and floors; edge cases (no result, one seed, equal values). Left out: how it looks,
which a person has to see.
"""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import pytest

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.files import summary_json
from supreme_core.analysis.hypotheses import joint_verdict
from supreme_core.analysis.provenance import provenance_of
from supreme_core.api.orders import Exclusion
from supreme_core.api.records import Named
from supreme_core.api.summary import Failure, Floor
from supreme_core.api.v1alpha1 import Component, MethodEntry
from supreme_core.report import cells, tables, words
from supreme_core.report.cells import Scale, TableCell
from supreme_core.report.page import SIZE, render_report
from supreme_core.report.paste import paste
from supreme_core.report.plots import Dot, DotPlot, ReferenceBand, Strip, StripPlot, drawn
from supreme_core.report.roc import Roc, roc_plot
from supreme_core.report.terminal import terminal_tables
from supreme_core.report.thinning import LEAST
from tests import drawing
from tests.core.analysis.summaries import (
    FACTS,
    cell,
    failed,
    question,
    result,
    results,
    row_fact,
    run,
    summary,
)

pytestmark = pytest.mark.usefixtures("plots_once")

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}
EVIL = "<script>alert(1)</script>"
FLOOR = Floor(n=4, mean=0.02, low=0.01, high=0.03, source="seeds")


class Page(HTMLParser):
    """Checks that tags close in order, and keeps text, tags, ids and attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.attributes, self.text = [], [], [], [], ""
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data + " "


def renamed(found, old, new):
    """The summary with another name for a method, wherever it stands in rows and failures."""
    rows = [r.model_copy(update={"method": new}) if r.method == old else r for r in found.rows]
    return found.model_copy(update={"rows": rows})


def test_the_page_is_well_formed_and_its_ids_are_unique():
    page = Page(render_report(summary(scenarios=("a", "b"), methods=("x", "y"))))
    assert len(page.ids) == len(set(page.ids))
    # of each scenario the values, four distances, three of them over the cost; then the ranks
    assert page.tags.count("svg") == 2 * (1 + 4 + 3) + 1


def test_every_method_scenario_seed_and_metric_stands_on_the_page():
    text = Page(
        render_report(summary(range(260, 265), scenarios=("a", "b"), methods=("scrub", "ssd")))
    ).text
    words = ["Original", "Retrained", "scrub", "ssd", "a", "b", *map(str, range(260, 265))]
    words += ["accuracy", "JS divergence", "MIA loss AUC", "wall seconds"]
    for word in words:
        assert re.search(rf"\b{re.escape(word)}\b", text), word


def test_each_point_says_its_method_seed_and_value():
    text = Page(render_report(summary(range(260, 265)))).text
    for seed in range(260, 265):
        assert re.search(rf"scrub, seed {seed}: \d+\.\d\d %", text)
        assert re.search(rf"scrub, seed {seed}: −?\d+\.\d\d points", text)


def test_of_very_many_seeds_each_figure_has_some_that_are_spread_alike(monkeypatch):
    monkeypatch.setattr("supreme_core.report.figures.MOST_POINTS", 0)
    found = summary(range(100), methods=("scrub",))
    page = render_report(found).decode()
    lead = page[: page.index("</svg>")]
    seeds = [int(seed) for seed in re.findall(r"<title>scrub, seed (\d+):", lead)]
    assert len(seeds) == LEAST
    assert "drawn are 20 of 100, at even steps of their rank" in " ".join(page.split())
    row = tables.IndexedSummary(found).row("full_class", "scrub", "forget_accuracy")
    reference = tables.IndexedSummary(found).row("full_class", "retrained", "forget_accuracy")
    gaps = {int(seed): row.values[seed] - reference.values[seed] for seed in row.values}
    drawn = [gaps[seed] for seed in seeds]
    assert (min(drawn), max(drawn)) == (min(gaps.values()), max(gaps.values()))


def test_a_page_of_few_seeds_has_all_of_them():
    assert "at even steps" not in render_report(summary(range(30))).decode()


def test_the_same_summary_gives_the_same_bytes():
    first = render_report(summary())
    with drawing.anew():
        assert render_report(summary()) == first


def test_the_page_asks_for_nothing_from_outside():
    page = render_report(summary())
    assert not re.search(rb"https?://|//[a-z]|@import|url\((?!#)", page)
    parsed = Page(page)
    assert not {"link", "img", "iframe", "object"} & set(parsed.tags)
    references = [value for name, value in parsed.attributes if name in ("href", "src")]
    beside = {"summary.json", "summary.csv", "over_seeds.csv"}
    assert all(value.startswith("#") or value in beside for value in references)


def test_the_page_allows_its_own_scripts_and_no_other():
    page = render_report(summary()).decode()
    own = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [b64encode(sha256(each.encode()).digest()).decode() for each in own]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert re.findall(r"script-src ([^;\"]*)", page) == [allowed]
    for each in own:
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", each)
    # and numbers, which nothing executes
    assert page.count("<script") == len(own) + 1
    assert page.count('<script type="application/json"') == 1


def test_the_page_links_to_results_where_they_lie_beside_it():
    paths = {seed: f"seed={seed}/attempt=1/result.json" for seed in range(5)}
    page = render_report(summary(), folder="experiments/local/tiny-01234567", results=paths)
    links = [value for name, value in Page(page).attributes if name == "href"]
    assert {*paths.values(), "order.json", "summary.json", "summary.csv"} <= set(links)
    assert "experiments/local/tiny-01234567" in Page(page).text
    alone = [value for name, value in Page(render_report(summary())).attributes if name == "href"]
    assert "summary.csv" in alone
    assert not [link for link in alone if "result" in link or "order" in link]


def test_the_page_says_its_size():
    page = render_report(renamed(summary(), "scrub", SIZE))
    told = re.findall(r"<footer>(\d+) kB", page.decode())
    assert told == [str(round(len(page) / 1000))]
    assert f">{SIZE}</th>" in page.decode()


def test_everything_but_the_answer_is_folded_and_a_link_leads_into_each_fold():
    page = render_report(summary(methods=("scrub", "ssd"))).decode()
    ids = ("verdicts", "primary", "distance", "front", "methods", "failures", "all", "paper")
    for anchor in (*ids, "definitions", "provenance"):
        before = page[: page.index(f'<section id="{anchor}">')]
        assert before.rindex('<details class="fold printed">') > before.rfind("</details>"), anchor
    top = page[: page.index("<details")]
    assert 'class="answers"' in top
    assert top.count("<svg") == 1
    assert top.count("<table") == 1


def test_a_definition_says_range_best_value_and_source_of_its_metric():
    facts = {
        **FACTS,
        "tow": row_fact("tow", group="composite", direction="higher", compares=True),
        "sape": row_fact("sape", group="composite", direction="lower", high=None),
    }
    of_method = [run("scrub", forget_accuracy=0.5, tow=0.5, sape=0.5)]
    found = aggregate([result(1, of_method)], question([1], metrics=facts))
    text = " ".join(Page(render_report(found)).text.split())
    source = "Someone 2020, arXiv:2001.00001"
    assert f"0 to 1 Retrained's its gap to Retrained, margin 0.01 {source}" in text
    assert f"0 to 1 highest nearness to Retrained {source}" in text
    assert f"from 0 lowest its gap to Retrained, margin 0.01 {source}" in text
    assert "Composite scores" in text
    assert re.search(r"\bToW\b", text)
    assert re.search(r"\bSAPE\b", text)


@pytest.mark.parametrize("where", ["method", "reason", "exclusion", "environment", "definition"])
def test_foreign_text_stays_text(where):
    found = summary(metrics={**FACTS, "forget_accuracy": row_fact("accuracy", "forget")})
    provenance = found.provenance
    if where == "method":
        found = renamed(found, "scrub", EVIL)
    elif where == "reason":
        evil = Failure(scenario=None, method=EVIL, seed=1, kind="failed", reason=EVIL)
        found = found.model_copy(update={"failures": [evil]})
    elif where == "exclusion":
        evil = Exclusion(scenario=EVIL, method=EVIL, reason=EVIL)
        found = found.model_copy(update={"excluded": [evil]})
    elif where == "environment":
        provenance["environments"][0]["values"] = {EVIL: EVIL, "nested": {"x": [EVIL]}}
    else:
        provenance["metrics"]["forget_accuracy"]["summary"] = EVIL
    page = render_report(found)
    assert page.count(b"<script") == render_report(summary()).count(b"<script")
    assert EVIL in Page(page).text


@pytest.mark.parametrize("name", ["a\u202eb\u200b", "a_name_beyond_the_first\u202egnol"])
def test_a_name_cannot_turn_the_text_around_it(name):
    page = render_report(renamed(summary(), "scrub", name))
    assert not re.search("[\u200b\u202e]", page.decode())
    assert name.encode("unicode_escape").decode() in Page(page).text


def test_a_label_that_looks_like_mathematics_or_has_strange_letters_does_not_break_a_plot():
    page = render_report(renamed(summary(), "scrub", "$\\frac{$ 忘 \x07" + "long" * 20))
    assert b"<svg" in page


@pytest.mark.parametrize("seeds", [[], [1], [1, 2]], ids=["no seed", "one seed", "two seeds"])
def test_few_seeds_or_none_still_give_a_page(seeds):
    found = aggregate([], question([1, 2])) if not seeds else summary(seeds)
    assert Page(render_report(found)).text
    assert terminal_tables(found)


def test_equal_values_of_all_seeds_and_methods_give_a_plot():
    runs = [run(m, forget_accuracy=0.0) for m in ("original", "retrained", "scrub")]
    found = aggregate([result(seed, runs) for seed in range(5)], question(range(5)))
    assert b"<svg" in render_report(found)


@pytest.mark.parametrize(("seeds", "claimed"), [(4, False), (5, True)], ids=["4 seeds", "5 seeds"])
def test_below_five_seeds_it_is_said_that_nothing_is_called_equivalent(seeds, claimed):
    text = Page(render_report(summary(range(seeds)))).text
    assert ("nothing is called equivalent. Run" not in text) is claimed
    assert ("Few seeds: Original, scrub." not in text) is claimed


def test_a_failure_stands_on_the_page_with_its_reason():
    runs = [run("original", forget_accuracy=1.0), run("retrained", forget_accuracy=0.1)]
    found = aggregate([result(1, [*runs, failed("scrub", "ran out of memory")])], question([1]))
    text = Page(render_report(found)).text
    assert "ran out of memory" in text
    assert "1 run failed" in text


@pytest.mark.parametrize(
    ("floors", "expected"),
    [
        pytest.param({("full_class", "forget_js_divergence"): FLOOR}, "0.020", id="measured"),
        pytest.param({}, "none claimed", id="none"),
    ],
)
def test_a_distance_has_its_noise_floor_beside_it_or_none_is_claimed(floors, expected):
    indexed = tables.IndexedSummary(summary(floors=floors))
    distances = next(g for g in tables.groups(indexed, "full_class") if "Distance" in g.title)
    (table,) = distances.tables
    assert table.floor[0].text == expected
    assert expected in Page(render_report(summary(floors=floors))).text


def test_a_primary_metric_that_is_a_distance_has_no_gap_column_and_is_drawn_once():
    found = summary(primary="forget_js_divergence")
    table = tables.overview(tables.IndexedSummary(found), "full_class")
    assert "gap" not in {column.kind for column in table.columns}
    page = Page(render_report(found))
    drawn = [v for k, v in page.attributes if k == "aria-label" and v.endswith("nearest first")]
    assert drawn[0].startswith("forget JS divergence to Retrained")
    assert len(set(drawn)) == len(drawn)
    assert "forget JS divergence of every seed, one line for each method" not in drawn


def test_metrics_are_grouped_by_what_they_are_about():
    groups = tables.groups(tables.IndexedSummary(summary()), "full_class")
    assert [group.title for group in groups] == [
        "Accuracy and loss by set",
        "Distance and likeness to Retrained",
        "Membership inference",
        "Cost",
    ]


def test_a_collapse_rate_counts_seeds_and_has_wilsons_interval():
    runs = [
        [run("retrained", test_accuracy=0.9), run("scrub", test_accuracy=x)] for x in (0.9, 0.1)
    ]
    found = aggregate(
        [result(seed, each) for seed, each in enumerate(runs)],
        question([0, 1], primary="test_accuracy"),
    )
    line = next(c for c in tables.collapses(tables.IndexedSummary(found)) if c.collapsed)
    assert (line.method, line.collapsed, line.failed, line.of) == ("scrub", 1, 0, 2)
    assert line.interval == "9 to 91 %"


@pytest.mark.parametrize(
    ("mean", "low", "high", "percent", "expected"),
    [
        pytest.param(
            0.123, 0.1, 0.146, False, TableCell("0.123", ("0.100", "0.146")), id="two digits"
        ),
        pytest.param(0.12, 0.04, 0.2, False, TableCell("0.12", ("0.04", "0.20")), id="one digit"),
        pytest.param(412.3, 400.0, 424.6, False, TableCell("412", ("400", "425")), id="large"),
        pytest.param(0.0, 0.0, 0.0, False, TableCell("0", ("0", "0")), id="zero"),
        pytest.param(
            3e-9, 2e-9, 4e-9, False, TableCell("3.00e-09", ("2.00e-09", "4.00e-09")), id="tiny"
        ),
        pytest.param(0.5, 9e-12, 1.0, True, TableCell("50.0", ("0.0", "100.0")), id="a tiny end"),
        pytest.param(0.5, None, None, False, TableCell("0.500"), id="one seed"),
        pytest.param(0.5, 0.45, 0.55, True, TableCell("50.0", ("45.0", "55.0")), id="percent"),
        pytest.param(-1.5, -2.0, -1.0, False, TableCell("−1.5", ("−2.0", "−1.0")), id="negative"),
        pytest.param(None, None, None, False, TableCell("–"), id="no value"),
    ],
)
def test_a_number_has_as_many_digits_as_its_interval_supports(mean, low, high, percent, expected):
    scale = Scale(100.0, "%", "points") if percent else Scale(1.0, "", "")
    row = summary().rows[0].model_copy(update={"mean": mean, "low": low, "high": high})
    assert cells.estimate_cell(row, scale) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.5, "+0.5"), (-0.5, "−0.5"), (0.0, "0.0"), (-0.01, "0.0"), (1e-9, "0.0"), (-1e-9, "0.0")],
)
def test_a_gap_has_its_sign_and_zero_has_none(number, expected):
    assert cells.number(number, 1, signed=True) == expected


@pytest.mark.parametrize(
    ("facts", "largest", "unit"),
    [
        pytest.param(row_fact("accuracy", "forget"), 1.0, "%", id="accuracy"),
        pytest.param(row_fact("mia_loss_auc"), 1.0, "", id="another fraction"),
        pytest.param(row_fact("peak_memory_bytes", unit="bytes"), 2**31, "MiB", id="2 GiB"),
        pytest.param(row_fact("peak_memory_bytes", unit="bytes"), 2**35, "GiB", id="32 GiB"),
        pytest.param(row_fact("loss", "forget", unit="nats"), 1.0, "nats", id="nats"),
        pytest.param(row_fact("wall_seconds", unit="seconds"), 1.0, "", id="named in the title"),
    ],
)
def test_the_unit_follows_from_the_facts(facts, largest, unit):
    assert cells.scale_of(facts, [0.0, None, largest]).unit == unit


def test_a_plot_takes_its_colours_from_the_page():
    strip = Strip("scrub", "method", (1.0, None, 2.0), ("a", "b", "c"), 1.5, 1.0, 2.0)
    plot = StripPlot([strip], axis="x", described_as="d", reference=ReferenceBand(1.0, 0.5, 1.5))
    svg = drawn(plot, name="p")
    assert "var(--method)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert svg.count("<title>") == 2  # a seed without a value has no point


def texts(plot):
    """Return the texts in a plot, in its order."""
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", plot)]


def test_a_mean_without_an_interval_lies_within_its_plot():
    strips = [Strip(str(mean), "method", (), (), mean, None, None) for mean in (1.5, 4.0, 6.0)]
    found = texts(drawn(StripPlot(strips, axis="mean rank", described_as=""), name="ranks"))
    ticks = [text for text in found if text.isdecimal()]
    assert ticks == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize(("methods", "named"), [(1, 1), (6, 6), (7, 6), (30, 6)])
def test_of_many_roc_curves_those_furthest_from_retrained_are_named(methods, named):
    share = tuple(i / 40 for i in range(41))
    curves = [Roc("Retrained", "retrained", share, tuple(x**0.9 for x in share))]
    order = [11 * place % methods for place in range(methods)]  # not that of their distances
    curves += [
        Roc(f"m{far:02}", "method", share, tuple(x ** (0.9 - 0.02 * far) for x in share))
        for far in order
    ]
    found = texts(roc_plot(curves, described_as="", name="roc"))
    furthest = [f"m{far:02}" for far in order if far >= methods - named]
    others = {0: [], 1: ["1 nearer one"]}.get(methods - named, [f"{methods - named} nearer ones"])
    start = found.index("Retrained")
    assert found[start:] == ["Retrained", *furthest, *others]


def test_a_dot_on_the_axis_is_drawn_whole():
    near = Dot("near", "near", 1.0, 0.0, (1.0, 1.0), (0.0, 0.0), chosen=True)
    far = Dot("far", "far", 2.0, 4.0, (2.0, 2.0), (4.0, 4.0), chosen=False)
    svg = drawn(DotPlot([near, far], x_axis="x", y_axis="y", described_as="d"), name="p")
    assert len(re.findall("<use[^>]*><title>", svg)) == 2
    assert not re.search("<g[^>]* clip-path[^>]*>[^<]*<use[^>]*><title>", svg)


def test_a_plot_is_light():
    names = tuple(map(str, range(9)))
    strip = Strip("scrub", "method", tuple(i / 7 for i in range(9)), names, 0.5, 0.1, 0.9)
    svg = drawn(StripPlot([strip], axis="x", described_as="d"), name="p")
    assert not re.search(r"\.\d{3}", svg)  # digits nobody sees
    assert "<g>" not in svg
    assert svg.count("var(--method)") == 1  # not for each of nine points
    ids = set(re.findall(r'id="([^"]+)"', svg))
    assert ids == set(re.findall(r"#([\w-]+)", svg))


def test_one_wide_interval_leaves_the_other_dots_apart():
    dots = [
        Dot("near", "near", 1.0, 0.0, (1.0, 1.0), (0.0, 0.0), chosen=True),
        Dot("far", "far", 2.0, 4.0, (2.0, 2.0), (0.0, 500.0), chosen=False),
    ]
    svg = drawn(DotPlot(dots, x_axis="x", y_axis="y", described_as="d"), name="p")
    near, far = (float(y) for y in re.findall(r'<use x="[\d.]+" y="([\d.]+)"[^>]*><title>', svg))
    assert near - far > 80  # of 200 points


def test_a_method_of_which_every_run_failed_stays_among_the_verdicts():
    runs = [
        [
            run("original", forget_accuracy=0.9),
            run("retrained", forget_accuracy=0.1 * seed),
            run("scrub", forget_accuracy=0.2),
            failed("ssd", "it diverged"),
        ]
        for seed in range(5)
    ]
    found = aggregate(
        [result(seed, each) for seed, each in enumerate(runs)],
        question(range(5), methods=("scrub", "ssd")),
    )
    table = tables.verdicts(tables.IndexedSummary(found), "full_class")
    assert [line.title for line in table.lines] == ["Original", "scrub", "ssd"]
    first, *others = table.lines[-1].cells
    assert first.text == "failed"
    assert set(others) == {cells.EMPTY}


def test_the_page_counts_the_seeds_that_have_a_result():
    found = aggregate(results(range(4)), question(range(10)))
    assert "4 of 10 training seeds" in Page(render_report(found)).text
    assert "10 of 10" not in Page(render_report(summary(range(10)))).text


def test_a_long_name_breaks_after_its_underscores():
    long, short = "a_label_of_more_than_26_letters", "a_label_of_26_letters_only"
    page = render_report(summary(methods=(long, short))).decode()
    assert f">{long.replace('_', '_<wbr>')}</th>" in page
    assert "bad_<wbr>" not in render_report(renamed(summary(), "scrub", "bad_teacher")).decode()
    assert f">{short}</th>" in page


def test_what_an_environment_does_not_say_is_left_out():
    found = summary()
    provenance = dict(found.provenance)
    provenance["environments"] = [
        each | {"values": {"image": "", "device": "cpu", "threads": 0}}
        for each in provenance["environments"]
    ]
    page = render_report(found.model_copy(update={"provenance": provenance})).decode()
    assert "<dt>device</dt><dd>cpu</dd>" in page
    assert "<dt>threads</dt><dd>0</dd>" in page
    assert "<dt>image</dt>" not in page


def test_it_is_said_what_is_not_there():
    def partial(seeds, runs=()):
        there = results(range(seeds), methods=("scrub",))
        for seed, status in runs:
            kept = [each for each in there[seed].runs if each.method != "scrub"]
            lost = [failed("scrub", "out of memory")] if status == "failed" else []
            there[seed] = there[seed].model_copy(update={"runs": [*kept, *lost]})
        found = Page(render_report(aggregate(there, question(range(3))))).text
        return re.findall(r"Partial: (.*?)\.", found)

    assert partial(3) == []
    assert partial(2) == ["2 of 3 seeds have a result"]
    assert partial(3, [(0, "failed")]) == ["1 run failed"]
    assert partial(2, [(0, "failed"), (1, "failed")]) == [
        "2 of 3 seeds have a result and 2 runs failed"
    ]
    assert partial(3, [(1, "pending")]) == ["1 run pending"]
    assert partial(2, [(0, "failed"), (1, "pending")]) == [
        "2 of 3 seeds have a result, 1 run failed and 1 run pending"
    ]


def test_provenance_names_the_wrappers_of_a_method_with_their_settings():
    entry = MethodEntry(
        name="scrub",
        label="careful",
        params={"lr": 0.1},
        wrappers=[
            Component(name="partition", params={"parts": 3}),
            Component(name="rewind"),
        ],
    )
    asked = question(range(2))
    order = asked.order.model_copy(
        update={"work": asked.order.work.model_copy(update={"methods": [entry]})}
    )
    found = aggregate(results(range(2), methods=("careful",)), replace(asked, order=order))
    text = Page(render_report(found)).text
    inside = "inside rewind inside partition (parts 3)"
    assert re.search(rf"Method careful\s+scrub \(lr 0.1\) {re.escape(inside)}", text)
    assert f"careful (scrub, lr 0.1) {inside}" in text  # in the paragraph for a paper


def test_the_words_for_a_method_say_that_it_trains_on_augmented_samples():
    entry = MethodEntry(name="scrub", augmentation="Training", wrappers=[Component(name="rewind")])
    assert words.method(entry) == "scrub inside rewind, on augmented samples"
    assert words.method(MethodEntry(name="scrub")) == "scrub"


def naming(*named):
    """A summary whose scenario names these (kind, number, name, role)."""
    fields = ("kind", "number", "name", "role")
    record = cell("full_class").model_copy(
        update={"named": [Named(**dict(zip(fields, each, strict=False))) for each in named]}
    )
    found = [each.model_copy(update={"cells": [record]}) for each in results(range(5))]
    return aggregate(found, question(range(5)))


FORGOTTEN = {
    "a class": ([("class", 3, "rose")], 'forget class 3 ("rose")'),
    "classes": (
        [("class", 3, "rose"), ("class", 5, "tulip")],
        'forget classes 3 ("rose") and 5 ("tulip")',
    ),
    "a fine class": ([("fine class", 7, "jet")], 'forget fine class 7 ("jet")'),
    "identities": (
        [("identity", 0, "Ann"), ("identity", 1, "Bo")],
        'forget identities 0 ("Ann") and 1 ("Bo")',
    ),
    "a confusion": (
        [("class", 0, "cat", "confused"), ("class", 1, "dog", "confused")],
        'forget the confusion of classes 0 ("cat") and 1 ("dog")',
    ),
    "a backdoor": (
        [("class", 0, "cat", "target")],
        'forget the trigger that stands for class 0 ("cat")',
    ),
    "a sequence": (
        [("class", 0, "cat"), ("identity", 1, "Bo")],
        'forget class 0 ("cat"); identity 1 ("Bo")',
    ),
    "very many": (
        [("class", number, "x") for number in range(14)],
        'forget classes 0 ("x"), 1 ("x"), 2 ("x"), 3 ("x"), 4 ("x"), 5 ("x"), 6 ("x"), 7 ("x"),'
        ' 8 ("x"), 9 ("x"), 10 ("x"), 11 ("x") and 2 more',
    ),
}


@pytest.mark.parametrize(("named", "words"), FORGOTTEN.values(), ids=list(FORGOTTEN))
def test_it_is_always_said_what_was_forgotten(named, words):
    found = naming(*named)
    (table,) = terminal_tables(found)
    assert table.title == f"full_class: {words}"
    page = unescape(render_report(found).decode())
    assert page.count(f">full_class: {words}</h3>") >= 3
    assert f"Scenario full_class: {words}: 146 training images" in page
    (record,) = provenance_of(found).cells
    assert [each.name for each in record.named] == [each[2] for each in named]


def test_of_a_result_that_does_not_say_it_nothing_is_claimed():
    (table,) = terminal_tables(summary())
    assert table.title == "full_class"
    assert b'"named"' not in summary_json(summary())


def test_the_terminal_has_the_leading_columns_of_the_report():
    (table,) = terminal_tables(summary())
    assert table.columns == (
        "method",
        "n",
        "forget accuracy, %",
        "gap to Retrained, points",
        "verdict",
        "told apart, AUC",
        "test accuracy, %",
        "forget JS divergence, nats",
        "MIA loss AUC",
        "wall seconds",
    )
    kept_longest = [table.columns[place] for place in table.by_importance]
    assert kept_longest == [*table.columns[2:5], table.columns[1], *table.columns[5:]]
    assert [row[0] for row in table.rows] == ["Original", "Retrained", "scrub", "noise floor"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_verdicts_of_every_metric_and_of_all_together_lead_the_page():
    found = summary(seeds=range(8), methods=("scrub", "ssd"))
    indexed = tables.IndexedSummary(found)
    table = tables.verdicts(indexed, "full_class")
    heads = [column.title for column in table.columns]
    assert heads[:4] == ["all metrics", "rows different", "after correction", "utility"]
    assert heads[4:] == ["forget accuracy", "test accuracy", "MIA loss AUC"]
    assert [line.title for line in table.lines] == ["Original", "scrub", "ssd"]
    for method, line in zip(("original", "scrub", "ssd"), table.lines, strict=True):
        metrics = ("forget_accuracy", "test_accuracy", "mia_loss_auc")
        gaps = [indexed.row("full_class", method, each).gap for each in metrics]
        assert [cell.text for cell in line.cells[4:]] == [cells.SYMBOLS[g.verdict] for g in gaps]
        joint = joint_verdict((gap.verdict, gap.joint_p) for gap in gaps)
        told = (joint.verdict, f"{joint.different} of 3", str(joint.different_jointly))
        assert tuple(cell.text for cell in line.cells[:3]) == told
    page = render_report(found).decode()
    assert page.index("<h2>Verdicts<") < page.index("<h2>Forget accuracy<")


def test_each_verdict_names_its_margin_and_where_that_is_from():
    found = summary(margins={"test_accuracy": 0.05})
    (table,) = terminal_tables(found)
    assert "Margin of equivalence: ±2.9 points, noise." in table.notes
    text = " ".join(Page(render_report(found)).text.split())
    assert "test accuracy : Margin of equivalence: ±5.0 points, set." in text
    assert "forget accuracy : Margin of equivalence: ±2.9 points, noise." in text
    pasted = paste(tables.IndexedSummary(found), "verdicts", "markdown")
    assert "Margins: forget accuracy ±2.9 points, noise; test accuracy ±5.0 points, set;" in pasted


def test_the_tests_of_a_gap_stand_on_the_page():
    found = summary(range(6))
    gap = tables.IndexedSummary(found).row("full_class", "scrub", "forget_accuracy").gap
    line = tables.tests(tables.IndexedSummary(found), "full_class").lines[1]
    expected = (gap.difference_p, gap.adjusted_p, gap.flip_p, gap.flip_adjusted_p)
    p_values = [*expected, gap.equivalence_p]
    assert [cell.text for cell in line.cells] == ["6", *map(cells.p_text, p_values)]
    assert "Tests of the gaps" in render_report(found).decode()
    of_distances = summary(primary="forget_js_divergence")
    assert tables.tests(tables.IndexedSummary(of_distances), "full_class") is None


def test_a_metric_without_a_value_for_any_model_is_named():
    facts = FACTS | {"mia_tpr_at_fpr": row_fact("mia_tpr_at_fpr", group="membership")}
    text = " ".join(Page(render_report(summary(metrics=facts))).text.split())
    assert "for none of these models: MIA TPR at FPR." in text
    assert "Without a value for any model" not in Page(render_report(summary())).text


def test_a_page_of_distances_alone_has_no_verdicts():
    facts = {name: fact for name, fact in FACTS.items() if fact.compares or fact.measured}
    found = summary(primary="forget_js_divergence", metrics=facts)
    assert tables.verdicts(tables.IndexedSummary(found), "full_class") is None
    assert "Verdicts" not in render_report(found).decode()


def test_without_test_accuracy_the_page_says_that_no_collapse_is_told():
    facts = {name: fact for name, fact in FACTS.items() if name != "test_accuracy"}
    found = summary(metrics=facts)
    assert found.failures == []
    page = render_report(found).decode()
    assert "no run is told to have collapsed" in page
    assert "none collapsed" not in page
    assert "none collapsed" in render_report(summary()).decode()


def test_a_terminal_gets_no_control_characters_from_a_label():
    (table,) = terminal_tables(renamed(summary(), "scrub", "\x1b[2Jscrub"))
    assert table.rows[2][0] == "?[2Jscrub"
