"""Sources of the spread of a method that was repeated within its seeds.

The components by analysis of variance themselves: test_statistics.py, test_oracles.py.
"""

import math

import numpy as np
import pytest

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.statistics import best_repeats
from tests.core.analysis.summaries import FACTS, failed, question, result, row_fact, run

VALUES = np.array([[0.30, 0.34], [0.42, 0.40], [0.55, 0.57], [0.33, 0.30]])
"""Forget accuracies, seeds by repeats."""

OTHER_SECONDS = row_fact(
    "device_seconds", group="cost", unit="seconds", measured=True, high=None, references=[]
)


def variance(runs_of_seeds, *, metrics=FACTS, method="scrub", seconds=30.0, **repeats):
    """Return the components of a method's forget accuracy.  runs_of_seeds: of scrub.
    seconds: of Retrained."""
    found = []
    for seed, runs in enumerate(runs_of_seeds, start=1):
        references = [
            run("original", forget_accuracy=1.0),
            *(
                run("retrained", repeat=replica, forget_accuracy=0.1 * seed, wall_seconds=seconds)
                for replica in range(repeats.get("retrained_replicas", 1))
            ),
        ]
        found.append(result(seed, [*references, *runs]))
    seeds = range(1, len(found) + 1)
    rows = aggregate(
        found, question(seeds, metrics=metrics, **({"unlearning_repeats": 2} | repeats))
    ).rows
    return next(
        row.variance for row in rows if (row.method, row.metric) == (method, "forget_accuracy")
    )


def repeated(values=VALUES, **others):
    return [
        [run("scrub", repeat=place, forget_accuracy=x, **others) for place, x in enumerate(of_seed)]
        for of_seed in values
    ]


def test_components_are_roots_of_mean_squares_and_shares_of_their_sum():
    found = variance(repeated())
    unlearning = VALUES.var(axis=1, ddof=1).mean()
    training = VALUES.mean(axis=1).var(ddof=1) - unlearning / 2
    assert found.unlearning == pytest.approx(math.sqrt(unlearning))
    assert found.training == pytest.approx(math.sqrt(training))
    assert found.training_share == pytest.approx(training / (training + unlearning))
    assert found.unlearning_share == pytest.approx(unlearning / (training + unlearning))
    assert (found.evaluation, found.evaluation_share) == (None, None)


def test_one_seed_that_was_repeated_is_enough_and_none_is_not():
    runs = repeated()
    assert variance([runs[0], *(of_seed[:1] for of_seed in runs[1:])]).unlearning is not None
    assert variance([of_seed[:1] for of_seed in runs]) is None


def test_references_have_no_components_though_they_have_replicas():
    assert variance(repeated(), method="retrained", retrained_replicas=2) is None


def test_values_that_never_vary_have_components_of_0_and_no_shares():
    found = variance(repeated(np.full((3, 2), 0.5)))
    assert (found.training, found.unlearning) == (0.0, 0.0)
    assert (found.training_share, found.unlearning_share) == (None, None)
    assert found.best_repeats is None


def test_a_method_whose_values_are_all_undefined_has_no_components():
    assert variance(repeated([[None, None]] * 3)) is None


def test_a_repeat_that_failed_is_left_out():
    runs = repeated()
    whole = variance(runs)
    third = failed("scrub", "no", repeat=2)
    assert variance([[*of_seed, third] for of_seed in runs], unlearning_repeats=3) == whole


@pytest.mark.parametrize(
    ("changed", "deterministic"),
    [
        ({}, True),
        ({"wall_seconds": 9.0}, True),
        ({"relearn": 0.9}, True),
        ({"test_accuracy": 0.9}, False),
    ],
)
def test_repeats_are_deterministic_where_what_they_are_functions_of_gave_the_same(
    changed, deterministic
):
    same = {"test_accuracy": 0.5, "wall_seconds": 1.0, "relearn": 0.2, "forget_accuracy": 0.3}
    runs = [[run("scrub", **same), run("scrub", repeat=1, **same)] for _ in range(3)]
    runs[1][1] = run("scrub", repeat=1, **(same | changed))
    runs[2].insert(0, failed("scrub", "no", repeat=2))
    metrics = FACTS | {"relearn": row_fact("relearn", random=True)}
    assert variance(runs, metrics=metrics).deterministic == deterministic


def test_the_best_number_of_repeats_is_by_what_retrained_and_the_method_take():
    slow = repeated(wall_seconds=0.1, device_seconds=50.0)
    metrics = {"device_seconds": OTHER_SECONDS} | FACTS
    found = variance(slow, metrics=metrics)
    expected = best_repeats(
        within=found.unlearning**2, between=found.training**2, seed_cost=60.0, repeat_cost=0.1
    )
    assert found.best_repeats == expected == 4
    untimed = {name: facts for name, facts in FACTS.items() if name != "wall_seconds"}
    assert variance(slow, metrics=untimed).best_repeats is None
    assert variance(repeated(), metrics=metrics).best_repeats is None  # nobody timed the method
    assert variance(slow, seconds=None).best_repeats is None
