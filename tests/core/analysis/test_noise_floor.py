"""noise_floors(): which pairs of Retrained models are compared, and what is claimed of them."""

from dataclasses import replace

import pytest

from supreme_core import registry
from supreme_core.analysis.noise_floor import has_floor, noise_floors
from supreme_core.api.records import CellRecord
from supreme_core.scoring.rows import measure
from tests.core.components.metrics.evaluations import evaluation, every_default_metric, predictions

ALL = every_default_metric()
DISAGREEMENT = "forget_js_divergence"


def key(number):
    return f"{number:064x}"


def cell(*models, forgot=0, scenario="some", forgets="classes"):
    """One scenario of a seed; `models` are the numbers of its Retrained models."""
    return CellRecord(
        scenario=scenario,
        forgets=forgets,
        forget_digest=key(forgot),
        forget_samples=1,
        retain_samples=1,
        forget_test_samples=1,
        retrained_predictions=[key(model) for model in models],
    )


class Store:
    """Predictions of the models of one cell by key, and what was read."""

    def __init__(self, forgets="classes"):
        self.forgets = forgets
        self.read = []

    def __call__(self, name):
        self.read.append(int(name, 16))
        return predictions(self.forgets, model=int(name, 16))


def floors(*seeds, store=None, metrics=ALL):
    return noise_floors(seeds, load=store or Store(), metrics=metrics)


def distance(one, other, row=DISAGREEMENT):
    pair = {"unlearned": predictions(model=one), "retrained": predictions(model=other)}
    comparisons = [metric for metric in ALL if has_floor(metric[1])]
    return measure(comparisons, replace(evaluation(), predictions=pair))[row]


def test_seeds_that_forgot_the_same_are_compared_with_the_next():
    floor = floors([cell(1)], [cell(2)], [cell(3)])["some", DISAGREEMENT]
    pairs = [distance(1, 2), distance(2, 3)]
    assert (floor.n, floor.source) == (2, "seeds")
    assert floor.mean == pytest.approx(sum(pairs) / 2)
    assert (floor.low, floor.high) == (min(pairs), max(pairs))


def test_seeds_that_forgot_other_samples_are_not_mixed():
    seeds = [cell(1, forgot=7)], [cell(2, forgot=8)], [cell(3, forgot=7)], [cell(4, forgot=8)]
    floor = floors(*seeds)["some", DISAGREEMENT]
    assert floor.n == 2
    assert floor.mean == pytest.approx((distance(1, 3) + distance(2, 4)) / 2)


def test_replicas_are_compared_where_each_seed_forgot_something_else():
    floor = floors([cell(1, 2, 3, forgot=7)], [cell(4, 5, forgot=8)])["some", DISAGREEMENT]
    pairs = [distance(1, 2), distance(2, 3), distance(4, 5)]
    assert (floor.n, floor.source) == (3, "replicas")
    assert floor.mean == pytest.approx(sum(pairs) / 3)


def test_seeds_come_before_replicas():
    floor = floors([cell(1, 2)], [cell(3, 4)])["some", DISAGREEMENT]
    assert (floor.n, floor.source) == (1, "seeds")
    assert floor.mean == distance(1, 3)


@pytest.mark.parametrize(
    "seeds",
    [[], [[cell(1)]], [[cell(1, forgot=7)], [cell(2, forgot=8)]], [[cell()], [cell()]]],
    ids=["no seed", "one model", "other forget sets", "no predictions"],
)
def test_nothing_is_claimed_without_two_models_that_forgot_the_same(seeds):
    assert floors(*seeds) == {}


def test_scenarios_have_floors_of_their_own():
    found = floors([cell(1), cell(5, scenario="other")], [cell(2), cell(6, 7, scenario="other")])
    assert found["some", DISAGREEMENT].mean == distance(1, 2)
    assert found["other", DISAGREEMENT].mean == distance(5, 6)


def test_only_comparisons_of_predictions_have_a_floor():
    """layer_distance has none: between seeds it would be that of unrelated starting points."""
    every = [(entry.name, entry, entry.params()) for entry in registry.metric.entries()]
    found = {row for _, row in floors([cell(1)], [cell(2)], metrics=every)}
    without_a_set = {name for name, entry, _ in every if has_floor(entry) and not entry.facts.sets}
    on_forget = {name for name, entry, _ in every if has_floor(entry) and entry.facts.sets}
    assert {row.removeprefix("forget_") for row in found if row.startswith("forget_")} >= on_forget
    assert on_forget >= {"js_divergence", "kl_divergence", "activation_distance", "completeness"}
    assert found >= without_a_set - {"layer_distance"}
    assert without_a_set >= {"tow", "layer_distance"}
    assert (
        not {"layer_distance", "forget_zrf", "forget_accuracy", "speed_up", "average_gap"} & found
    )


def test_rows_of_sets_that_a_cell_has_not_have_no_floor():
    seeds = [[cell(number, forgets="samples")] for number in (1, 2)]
    found = floors(*seeds, store=Store("samples"))
    assert ("some", "test_completeness") in found
    assert ("some", "forget_test_completeness") not in found


def test_likeness_has_a_floor_below_one():
    assert 0 < floors([cell(1)], [cell(2)])["some", "test_completeness"].mean < 1


def test_title_names_the_rows():
    label = [("mine", entry, params) for title, entry, params in ALL if title == "completeness"]
    assert ("some", "forget_mine") in floors([cell(1)], [cell(2)], metrics=label)


def test_each_model_is_read_once():
    store = Store()
    floors([cell(1)], [cell(2)], [cell(3)], [cell(4)], store=store)
    assert store.read == [1, 2, 3, 4]
