"""forgetting_quality against every attack tried one by one, and limits against scipy's."""

from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import inf, log

import numpy as np
import pytest
from scipy import stats

from supreme_core.components.seed_metrics.forgetting_quality import (
    ForgettingQualityParams,
    _table,
    forgetting_quality,
    largest_epsilon,
    score,
)
from tests.core.components.seed_metrics.ensemble_pairs import ensemble_pair

PLUG_IN = ForgettingQualityParams(epsilon="plug_in")
BOUND = ForgettingQualityParams()


@lru_cache
def rates(errors, n, params):
    if params.epsilon == "plug_in":
        return errors / n
    return stats.binomtest(int(errors), n).proportion_ci(params.level, "exact").high


def epsilon(false_positives, false_negatives, n, m, params):
    positive, negative = rates(false_positives, n, params), rates(false_negatives, m, params)
    if positive == negative == 0:
        return inf
    found = [0.0]
    for a, b in ((positive, negative), (negative, positive)):
        if a > 0 and b > 0 and 1 - params.delta - a > 0:
            found.append(log((1 - params.delta - a) / b))
    return max(found)


def brute_force(unlearned, retrained, params):
    """Every interval between observed values, and its complement."""
    cuts = [-inf, *sorted({*unlearned, *retrained}), inf]
    found = []
    for low, high in product(cuts, cuts):
        if low >= high:
            continue
        u, r = (((x > low) & (x <= high)).sum() for x in (unlearned, retrained))
        n, m = len(retrained), len(unlearned)
        found.append(epsilon(r, m - u, n, m, params))
        found.append(epsilon(n - r, u, n, m, params))
    return max(found)


@pytest.mark.parametrize("params", [PLUG_IN, BOUND], ids=["plug_in", "bound"])
@pytest.mark.parametrize("digits", [1, 6], ids=["with ties", "without ties"])
def test_epsilon_is_the_largest_of_all_attacks(params, digits):
    random = np.random.default_rng(4)
    unlearned = random.normal(0, 1, (9, 6)).round(digits)
    retrained = random.normal(np.arange(6) / 2, 1, (8, 6)).round(digits)
    found = largest_epsilon(unlearned, retrained, _table(params, 9, 8))
    slow = [brute_force(u, r, params) for u, r in zip(unlearned.T, retrained.T, strict=True)]
    assert found == pytest.approx(slow, rel=1e-9)


def test_two_thresholds_find_what_one_does_not():
    unlearned, retrained = np.zeros((10, 1)), np.repeat([-1.0, 1.0], 5)[:, None]
    assert largest_epsilon(unlearned, retrained, _table(PLUG_IN, 10, 10)) == [inf]


def test_an_attack_without_errors_of_one_kind_says_nothing_where_shares_are_plugged_in():
    """One of four unlearned models is apart, and to call it so alone is never a false alarm."""
    unlearned, retrained = np.array([[0.0, 0.0, 0.0, 1.0]]).T, np.zeros((4, 1))
    assert largest_epsilon(unlearned, retrained, _table(PLUG_IN, 4, 4)) == [0.0]
    assert largest_epsilon(1 - unlearned, retrained, _table(PLUG_IN, 4, 4)) == [0.0]


def test_score_halves_with_every_half_of_epsilon_and_ends_at_the_thirteenth():
    asked = np.array([0.0, 0.49, 0.5, 0.99, 1.0, 6.0, 100.0, inf])
    expected = [2 / 2**k for k in (1, 1, 2, 2, 3, 13, 13, 13)]
    assert score(asked).tolist() == expected


def test_a_bound_claims_no_more_than_so_many_models_can_show():
    """Models that nobody confuses: at most log((1 - p) / p) with p the limit of no error."""
    apart = np.zeros((8, 1)), np.ones((8, 1))
    limit = 1 - 0.025 ** (1 / 8)
    expected = log((1 - 1e-5 - limit) / limit)
    assert expected == pytest.approx(0.535, abs=0.001)
    assert largest_epsilon(*apart, _table(BOUND, 8, 8)) == pytest.approx(expected)
    five = np.zeros((5, 1)), np.ones((5, 1))
    assert largest_epsilon(*five, _table(BOUND, 5, 5)) == [0.0]


def test_plugged_in_shares_of_few_models_condemn_models_of_the_same_distribution():
    same = ensemble_pair(8, 8, samples=300)
    assert forgetting_quality(same, BOUND)[""] > 0.95
    assert forgetting_quality(same, PLUG_IN)[""] < 0.5


def test_the_quality_is_the_mean_of_the_scores_of_the_samples():
    found = ensemble_pair(8, 8, samples=60, shift=2.0)
    epsilons = largest_epsilon(*found.logit_confidence, _table(PLUG_IN, 8, 8))
    scores = score(epsilons)
    assert np.mean(scores) != pytest.approx(np.median(scores))
    assert forgetting_quality(found, PLUG_IN)[""] == pytest.approx(np.mean(scores))


def test_utility_is_the_accuracy_on_retain_and_test_over_that_of_retrained():
    found = ensemble_pair()
    names = ("retain", "test")
    numbers = forgetting_quality(found, BOUND)
    ratio = [
        found.unlearned.accuracy[name].mean() / found.retrained.accuracy[name].mean()
        for name in names
    ]
    assert numbers["with_utility"] == pytest.approx(numbers[""] * ratio[0] * ratio[1])
    nothing = replace(found.retrained, accuracy=dict.fromkeys(names, np.zeros(8)))
    assert forgetting_quality(replace(found, retrained=nothing), BOUND)["with_utility"] is None
