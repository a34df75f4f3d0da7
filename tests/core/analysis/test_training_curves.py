"""Curves of trainings over seeds, by numbers that are known.

quartiles   those of numpy, in each epoch over the seeds that trained so long
ends        falling, level, risen: lines, halvings, noise; or nothing is said
bounds      seeds, trainings, epochs and digits that a summary keeps, however long trainings are
models      Original once for all scenarios, unless it differs; models without a curve
curves      refused where they are none

Left out: where curves come from (tests/core/library/test_results.py), how they are shown
(tests/core/report/test_training_curves_report.py).
"""

import numpy as np
import pytest

from supreme_core.analysis.files import as_json
from supreme_core.analysis.training_curves import (
    MOST_POINTS,
    MOST_SEEDS,
    MOST_TRAININGS,
    end_of,
    training_curves,
)
from supreme_core.api.canonical import digest
from supreme_core.api.model import parse
from supreme_core.api.records import EpochCurve
from supreme_core.errors import SpecError
from tests.core.analysis import summaries


def curve(loss, *, name="training", **changes):
    epochs = len(loss)
    fields = {
        "name": name,
        "epoch": [*range(1, epochs + 1)],
        "rate": [0.1] * epochs,
        "loss": [*loss],
        "accuracy": [0.5] * epochs,
    }
    return EpochCurve(**(fields | changes))


def found(curves_of, *, seeds=(1, 2, 3), scenarios=("full_class",), methods=("finetune",)):
    """Training curves.  curves_of: (seed, scenario, method) to the curves of that model."""
    models = {}
    results = []
    for seed in seeds:
        runs = []
        for scenario in scenarios:
            for method in ("original", "retrained", *methods):
                key = digest([seed, scenario, method])
                models[key] = (seed, scenario, method)
                run = summaries.run(method, scenario=scenario)
                runs.append(run.model_copy(update={"predictions": {"unlearned": key}}))
        results.append(summaries.result(seed, runs))
    order = summaries.question(seeds, methods=methods, scenarios=scenarios).order
    return training_curves(
        results, order, lambda run: curves_of(*models[run.predictions["unlearned"]])
    )


def by_method(curves):
    return {(each.method, each.training): each for each in curves.trainings}


class TestQuartiles:
    def test_they_are_those_of_the_seeds(self):
        losses = {seed: [2.0 + seed / 7, 1.0 + seed / 9, seed / 11] for seed in (1, 2, 3, 4)}
        told = found(lambda seed, *_: [curve(losses[seed])], seeds=(1, 2, 3, 4))
        original = by_method(told)["original", "training"]
        numbers = np.array([*losses.values()])
        for name, quantile in (("median", 0.5), ("low", 0.25), ("high", 0.75)):
            wanted = np.quantile(numbers, quantile, axis=0)
            assert getattr(original.loss, name) == pytest.approx(wanted, rel=1e-4)
        assert (original.n, original.epochs, original.epoch) == (4, 3, [1, 2, 3])
        assert original.rate == [0.1] * 3
        assert original.validation is None
        assert told.seeds == 4

    def test_an_epoch_has_those_of_the_seeds_that_trained_so_long(self):
        told = found(lambda seed, *_: [curve([1.0] * seed + [0.5])])
        original = by_method(told)["original", "training"]
        assert original.epoch == [1, 2, 3, 4]
        assert original.loss.median == [1.0, 1.0, 0.75, 0.5]

    def test_what_is_not_known_has_no_number(self):
        told = found(lambda *_: [curve([1.0, None], validation=[None, 0.9])])
        original = by_method(told)["original", "training"]
        assert original.loss.median == [1.0, None]
        assert original.validation.median == [None, 0.9]


def halving(epochs, times):
    return [2.0 * 0.5 ** (times * epoch / epochs) for epoch in range(epochs)]


def noisy(epochs, deviation, seed):
    noise = np.random.default_rng(seed).normal(0, deviation, epochs)
    return [0.1 + 2 * 0.5**epoch + n for epoch, n in enumerate(noise)]


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        pytest.param([2.0 - 0.1 * epoch for epoch in range(20)], "falling", id="a line"),
        pytest.param(halving(30, 3), "falling", id="three halvings"),
        pytest.param(halving(30, 7), "level", id="seven halvings"),
        pytest.param(halving(1000, 7), "level", id="the same in many epochs"),
        pytest.param([0.5 + each for each in halving(30, 7)], "level", id="above zero"),
        pytest.param([1.0 + 0.1 * epoch for epoch in range(20)], "risen", id="upwards"),
        pytest.param([1.0] * 20, "risen", id="none"),
        pytest.param(halving(9, 3), None, id="few epochs"),
        pytest.param([*halving(20, 7), None], None, id="an epoch without a number"),
        *(pytest.param(noisy(20, 0.03, seed), "level", id=f"noise {seed}") for seed in range(5)),
    ],
)
def test_the_end_of_a_training(loss, end):
    assert end_of(loss) == end


def test_the_seeds_that_ended_so_are_counted():
    losses = {1: halving(20, 3), 2: halving(20, 8), 3: [1.0] * 20, 4: halving(5, 3)}
    told = found(lambda seed, *_: [curve(losses[seed])], seeds=(1, 2, 3, 4))
    original = by_method(told)["original", "training"]
    assert (original.n, original.judged, original.falling, original.risen) == (4, 3, 1, 1)


class TestBounds:
    def test_of_many_epochs_some_are_kept_the_first_and_the_last_among_them(self):
        told = found(lambda *_: [curve([1 / 3] * 5000)])
        epochs = told.trainings[0].epoch
        assert len(epochs) == MOST_POINTS
        assert (epochs[0], epochs[-1]) == (1, 5000)
        assert told.trainings[0].loss.median[0] == 0.33333

    def test_of_many_seeds_the_first_are_looked_at(self):
        told = found(lambda *_: [curve([1.0])], seeds=range(MOST_SEEDS + 5))
        assert told.seeds == MOST_SEEDS
        assert {each.n for each in told.trainings} == {MOST_SEEDS}

    def test_of_many_trainings_the_first_are_kept_and_the_others_counted(self):
        curves = [curve([1.0], name=f"pass {number}") for number in range(20)]
        told = found(lambda seed, scenario, method: curves if method == "finetune" else curves[:1])
        assert [each.training for each in told.trainings[2:]] == [
            f"pass {number}" for number in range(MOST_TRAININGS)
        ]
        assert told.left_out == 20 - MOST_TRAININGS

    def test_a_training_takes_few_bytes_of_a_summary(self):
        long = curve([1 / (3 + n) for n in range(5000)], validation=[1 / 3] * 5000)
        told = found(lambda *_: [long])
        assert len(as_json(told.trainings[0])) < 8_000


class TestModels:
    def test_original_of_all_scenarios_stands_there_once(self):
        scenarios = ("full_class", "random_samples")
        told = found(
            lambda seed, scenario, method: [curve([1.0 if method == "original" else 2.0])],
            scenarios=scenarios,
        )
        assert [(each.method, each.scenarios) for each in told.trainings] == [
            ("original", [*scenarios]),
            ("retrained", ["full_class"]),
            ("finetune", ["full_class"]),
            ("retrained", ["random_samples"]),
            ("finetune", ["random_samples"]),
        ]

    def test_an_original_of_other_samples_stands_for_itself(self):
        scenarios = ("full_class", "backdoor", "random_samples")
        told = found(
            lambda seed, scenario, method: [curve([3.0 if scenario == "backdoor" else 1.0])],
            scenarios=scenarios,
        )
        originals = [each.scenarios for each in told.trainings if each.method == "original"]
        assert originals == [["full_class", "random_samples"], ["backdoor"]]

    def test_a_model_without_a_curve_is_named(self):
        told = found(
            lambda seed, scenario, method: [] if method == "ssd" else [curve([1.0])],
            methods=("ssd", "finetune"),
        )
        assert [(each.scenario, each.method) for each in told.without] == [("full_class", "ssd")]

    def test_without_a_model_in_the_store_nothing_is_said(self):
        results = summaries.results((1, 2))
        told = training_curves(results, summaries.question((1, 2)).order, lambda run: [])
        assert told.seeds == 0
        assert not told.without


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": [1.0]}, "differ in their lengths"),
        ({"epoch": [2, 1]}, "does not count upwards"),
        ({"epoch": [0, 1]}, "does not count upwards"),
        ({"loss": [1.0, float("inf")]}, "loss"),
        ({"loss": [1.0, -1e300]}, "loss"),
        ({"accuracy": ["a", "b"]}, "accuracy"),
        ({"name": "a" * 200}, "name"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_what_is_no_curve_is_refused(changes, message):
    document = curve([1.0, 2.0]).to_document() | changes
    with pytest.raises(SpecError, match=message):
        parse(EpochCurve, document)
