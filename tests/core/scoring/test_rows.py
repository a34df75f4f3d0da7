"""measure(): which rows there are, which have a value, and how often a metric is computed."""

from dataclasses import replace

import pytest

from supreme_core.plan import default_metrics, metric_rows
from supreme_core.registry import Entry, MetricFacts, NoParams
from supreme_core.registry.catalog import bundled
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import evaluation, every_default_metric

SETS = ("forget", "forget_test", "test")


def chosen(function, *, title="mine", **facts):
    """A metric as an experiment has chosen it."""
    entry = Entry(
        kind="metric",
        name=title,
        function=function,
        params=NoParams,
        facts=MetricFacts(unit="fraction", group="accuracy", **facts),
        version=1,
        summary="Mine.",
        module=__name__,
    )
    return title, entry, NoParams()


def draw(evaluation, params):
    return evaluation.generator("mine").random()


def test_rows_are_the_sets_of_each_metric_in_order():
    metrics = [chosen(draw, title="b", sets=SETS), chosen(draw, title="a")]
    expected = ["forget_b", "forget_test_b", "test_b", "a"]
    assert list(measure(metrics, evaluation())) == expected


@pytest.mark.parametrize(
    ("forgets", "undefined"),
    [
        ("classes", set()),
        (
            "samples",
            {
                f"forget_test_{name}"
                for name in (
                    *("accuracy", "loss", "activation_distance", "completeness", "js_divergence"),
                )
            },
        ),
    ],
)
def test_rows_line_up_whatever_is_forgotten(forgets, undefined):
    values = measure(every_default_metric(), evaluation(forgets))
    assert list(values) == metric_rows(default_metrics(bundled()), bundled())
    assert {row for row, value in values.items() if value is None} == undefined


def test_metric_is_asked_about_each_set():
    asked = chosen(lambda evaluation, params: float(len(evaluation.unlearned)), sets=SETS)
    cell = evaluation()
    sets = cell.predictions["unlearned"]
    assert measure([asked], cell) == {f"{on}_mine": len(sets[on]) for on in SETS}


def test_empty_set_has_no_value():
    cell = evaluation()
    sets = cell.predictions["unlearned"]
    empty = {**sets, "forget": sets["forget"].take(sets["forget"].labels[:0])}
    cell = replace(cell, predictions={**cell.predictions, "unlearned": empty})
    values = measure(every_default_metric(), cell)
    assert values["forget_accuracy"] is None
    assert values["mia_entropy"] is None
    assert values["mia_loss_auc"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_value_that_is_not_a_finite_number_is_none(value):
    asked = [
        chosen(lambda evaluation, params: value),
        chosen(lambda evaluation, params: value, title="random", random=True),
    ]
    assert measure(asked, evaluation()) == {"mine": None, "random": None}


@pytest.mark.parametrize(("forgets", "expected"), [("classes", 1.0), ("samples", None)])
def test_metric_has_no_value_where_it_is_not_defined_for_what_is_forgotten(forgets, expected):
    asked = chosen(lambda evaluation, params: 1.0, forgets=("classes",))
    assert measure([asked], evaluation(forgets)) == {"mine": expected}


@pytest.mark.parametrize("reference", ["original", "retrained", None])
def test_metric_has_no_value_for_a_reference_that_its_facts_leave_out(reference):
    asked = chosen(lambda evaluation, params: 1.0, references=("retrained",))
    expected = None if reference == "original" else 1.0
    assert measure([asked], evaluation(), reference=reference) == {"mine": expected}


def test_original_has_no_costs():
    values = measure(every_default_metric(), evaluation(), reference="original")
    undefined = {row for row, value in values.items() if value is None}
    assert undefined == {"wall_seconds", "device_seconds", "peak_memory_bytes", "speed_up"}


def test_defect_15_random_metrics_differ_in_every_repeat_and_give_their_mean():
    drawn = []

    def noted(evaluation, params):
        drawn.append(draw(evaluation, params))
        return drawn[-1]

    found = measure([chosen(noted, random=True)], evaluation(), repeats=5)["mine"]
    assert len(set(drawn)) == 5
    assert found == pytest.approx(sum(drawn) / 5)


def test_defect_15_metrics_without_chance_are_computed_once_whatever_the_repeats():
    calls = []
    asked = chosen(lambda evaluation, params: calls.append(evaluation.on) or 1.0, sets=SETS)
    measure([asked], evaluation(), repeats=7)
    assert calls == list(SETS)


def test_more_repeats_keep_the_draws_of_the_first():
    drawn = []
    asked = chosen(lambda evaluation, params: drawn.append(evaluation.seed) or 1.0, random=True)
    measure([asked], evaluation(), repeats=2)
    measure([asked], evaluation(), repeats=3)
    assert drawn[:2] == drawn[2:4]


def test_numbers_are_plain_floats_for_json():
    values = measure(every_default_metric(), evaluation())
    assert {type(value) for value in values.values()} == {float}
