"""Numbers of the figure whose axes a reader chooses, as the page's script reads them.

What the script draws from them is tested in a browser.
"""

import json
from html.parser import HTMLParser

import pytest

from supreme_core.report import axes
from supreme_core.report.page import render_report
from supreme_core.report.tables import IndexedSummary
from supreme_core.report.thinning import LEAST, evenly, spread_alike
from tests.core.analysis.summaries import summary
from tests.core.report import given

HOSTILE = "</script><script>alert(1)</script>"


def numbers(found):
    """Read the numbers as a browser does that finds the end of their element."""
    return json.loads(axes.numbers(IndexedSummary(found)))


def row(document, method, metric, scenario=0):
    scenario = document["scenarios"][scenario]
    methods = [name for name, _ in scenario["methods"]]
    metrics = [each["title"] for each in document["metrics"]]
    return scenario["rows"][metrics.index(metric)][methods.index(method)]


def test_each_value_mean_and_gap_stands_in_the_units_of_the_page():
    found = summary(methods=("scrub", "ssd"))
    values, (mean, low, high), (gap, *_) = row(numbers(found), "ssd", "Forget accuracy")
    known = IndexedSummary(found).row("full_class", "ssd", "forget_accuracy")
    assert values == pytest.approx([100 * each for each in known.values.values()], rel=1e-5)
    assert (mean, low, high) == pytest.approx(
        (100 * known.mean, 100 * known.low, 100 * known.high), rel=1e-5
    )
    assert gap == pytest.approx(100 * known.gap.mean, rel=1e-5)


def test_original_and_retrained_come_first_and_then_the_nearest():
    methods = numbers(summary(methods=("far", "near")))["scenarios"][0]["methods"]
    assert methods[:2] == [["Original", "original"], ["Retrained", "retrained"]]
    assert {name for name, _ in methods[2:]} == {"far", "near"}


def test_methods_whose_models_lost_the_task_have_marks_where_there_are_some():
    found = given.indexed(
        **given.WITH_TEST,
        kept=given.kept_task(0.5),
        some=[given.lost_task(0.01), *[given.kept_task(0.01)] * 4],
        every=given.lost_task(0.01),
    )
    (scenario,) = numbers(found.summary)["scenarios"]
    names = [name for name, _ in scenario["methods"]]
    marked = {name: mark for name, mark in zip(names, scenario["marks"], strict=True) if mark}
    assert marked == {"some": "*", "every": "**"}
    assert scenario["explained"] == "* lost the task in some seed, ** in every seed"
    assert not {"marks", "explained"} & {*numbers(summary())["scenarios"][0]}


def test_a_distance_has_no_line_of_retrained_and_no_gap():
    document = numbers(summary())
    assert row(document, "Retrained", "Forget JS divergence") is None
    assert row(document, "scrub", "Forget JS divergence")[2] is None


def test_of_very_many_seeds_there_is_an_even_choice_and_their_means_are_those_of_all(monkeypatch):
    monkeypatch.setattr(axes, "MOST_NUMBERS", 0)
    found = summary(range(100))
    document = numbers(found)
    assert document["of"] == 100
    assert len(document["seeds"]) == LEAST
    assert (document["seeds"][0], document["seeds"][-1]) == ("0", "99")
    values, (mean, *_), _ = row(document, "scrub", "Forget accuracy")
    assert len(values) == LEAST
    known = IndexedSummary(found).row("full_class", "scrub", "forget_accuracy")
    assert mean == pytest.approx(100 * known.mean, rel=1e-5)


def test_a_hostile_name_cannot_end_the_element():
    found = summary()
    rows = [
        each.model_copy(update={"method": HOSTILE}) if each.method == "scrub" else each
        for each in found.rows
    ]
    page = render_report(found.model_copy(update={"rows": rows}))
    inert = Inert()
    inert.feed(page.decode())
    document = json.loads(inert.content)
    assert [HOSTILE, "method"] in document["scenarios"][0]["methods"]


class Inert(HTMLParser):
    """Content of the element that has the numbers."""

    content, inside = "", False

    def handle_starttag(self, tag, attributes):
        self.inside = ("id", "numbers") in attributes

    def handle_data(self, data):
        if self.inside:
            self.content += data

    def handle_endtag(self, tag):
        self.inside = False


@pytest.mark.parametrize(("count", "most"), [(5, 30), (30, 30), (31, 30), (1000, 30), (100, 0)])
def test_a_choice_has_the_ends_and_no_place_twice(count, most):
    places = evenly(count, most)
    assert len(places) == min(count, max(most, LEAST)) == len(set(places))
    assert (places[0], places[-1]) == (0, count - 1)


def test_a_choice_of_values_keeps_their_seeds_their_ends_and_their_spread():
    values = {str(seed): (7 * seed % 101) / 10 for seed in range(101)} | {"lost": None}
    shown = spread_alike(values, 21)
    assert list(shown) == list(values)
    kept = {seed: value for seed, value in shown.items() if value is not None}
    assert sorted(kept.values()) == pytest.approx([step / 2 for step in range(21)])
    assert all(values[seed] == value for seed, value in kept.items())
