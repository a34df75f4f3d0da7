"""Figures as files: their names, forms and colours. Left out: how they look."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from supreme_core.errors import SpecError
from supreme_core.report import svg
from supreme_core.report.choices import PICTURES
from supreme_core.report.figures import figure
from supreme_core.report.plots import drawn, picture
from supreme_core.report.tables import IndexedSummary
from supreme_core.report.templates import template
from tests.core.analysis.summaries import summary
from tests.core.analysis.test_training_curves import curve
from tests.core.analysis.test_training_curves import found as curves_of
from tests.core.report import given

STARTS = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
NAMES = (
    *("forget_accuracy", "test_accuracy", "forget_js_divergence", "mia_loss_auc"),
    *("front-forget_accuracy", "front-test_accuracy", "front-mia_loss_auc", "ranks", "trainings"),
)


@pytest.fixture(scope="module")
def indexed():
    found = summary(range(8), scenarios=("a", "b"), methods=("scrub", "ssd"))
    curves = curves_of(lambda seed, scenario, method: [curve([2.0, 1.0])])
    return IndexedSummary(found.model_copy(update={"training_curves": curves}))


@pytest.mark.parametrize("form", PICTURES)
def test_a_figure_is_a_file_of_each_form_with_the_same_bytes_again(indexed, form):
    plot = figure(indexed, "forget_accuracy", scenario="a")
    file = picture(plot, form)
    assert file.startswith(STARTS[form])
    assert picture(plot, form) == file


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_the_page_has_a_name(indexed, name):
    of_all = name in ("ranks", "trainings")
    assert figure(indexed, name, scenario=None if of_all else "b").figure().axes


def test_a_file_has_the_colours_and_the_words_of_the_page(indexed):
    plot = figure(indexed, "forget_accuracy", scenario="a")
    root = ElementTree.fromstring(picture(plot, "svg"))
    words = {text for text in root.itertext() if text.strip()}
    assert {"scrub", "ssd", "Original", plot.axis, plot.heading} <= words
    file, page = picture(plot, "svg").decode(), drawn(plot, name="p")
    for colour in (svg.METHOD, svg.RETRAINED, svg.EQUIVALENT):
        assert colour in file
        assert svg.COLOURS[colour] in page
    assert "var(" not in file


def test_a_figure_marks_methods_whose_models_lost_the_task():
    found = given.indexed(
        **given.WITH_TEST,
        kept=given.kept_task(0.5),
        some=[given.lost_task(0.01), *[given.kept_task(0.01)] * 4],
        every=given.lost_task(0.01),
    )
    plot = figure(found, "forget_accuracy")
    assert [strip.label for strip in plot.strips] == ["Original", "kept", "some *", "every **"]
    assert plot.note == "* lost the task in some seed, ** in every seed"
    assert plot.note in picture(plot, "svg").decode()


def test_the_colours_of_files_are_those_of_the_page_by_day():
    style = template("style").render()
    day = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", style[: style.index("@media")]))
    named = {name.removeprefix("var(--").removesuffix(")"): c for c, name in svg.COLOURS.items()}
    assert {name: day[name] for name in named} == named | {"paper": "#fff"}


def test_a_metric_that_does_not_lead_is_a_figure_too(indexed):
    assert figure(indexed, "wall_seconds", scenario="a").axis == "wall seconds"


def test_a_metric_without_a_value_is_told(indexed):
    bare = [row.model_copy(update={"n": 0, "gap": None}) for row in indexed.summary.rows]
    without = IndexedSummary(indexed.summary.model_copy(update={"rows": bare}))
    with pytest.raises(SpecError, match="figure 'wall_seconds' has nothing to show: no method"):
        figure(without, "wall_seconds")


@pytest.mark.parametrize(
    ("name", "scenario", "told"),
    [
        ("wall_second", "a", "unknown figure 'wall_second'; did you mean 'wall_seconds'?"),
        ("all", "a", "front-mia_loss_auc, ranks, trainings; and every metric"),
        ("forget_acuracy", "a", "unknown figure 'forget_acuracy'; did you mean 'forget_accuracy'?"),
        ("forget_accuracy", "c", "unknown scenario 'c'"),
        ("ranks", "a", "figure 'ranks' is one of all scenarios; leave --scenario out"),
        ("forget_accuracy", None, "is one of each scenario; --scenario is"),
    ],
    ids=["metric", "figures", "figure", "scenario", "no scenario", "which scenario"],
)
def test_a_figure_that_is_not_there_is_told(indexed, name, scenario, told):
    with pytest.raises(SpecError, match=re.escape(told)):
        figure(indexed, name, scenario=scenario)


def test_one_scenario_needs_no_name():
    one = IndexedSummary(summary())
    assert figure(one, "forget_accuracy") == figure(one, "forget_accuracy", scenario="full_class")
