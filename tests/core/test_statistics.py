"""Statistics against scipy.stats and closed forms.

Covered: t interval and its coverage property, paired gap, Wilson, collapse rule; each with no, one,
equal, missing, non-finite and huge values. Left out: anything that no report shows yet.
"""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from supreme_core.statistics import (
    Estimate,
    average,
    collapse_threshold,
    estimate,
    is_collapsed,
    paired_gap,
    wilson,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))


@given(st.lists(ordinary, min_size=2, max_size=40).filter(lambda x: np.std(x) > 1e-3))
def test_the_interval_is_that_of_the_one_sample_t_test(x):
    ours = estimate(x)
    theirs = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert ours.n == len(x)
    assert ours.mean == pytest.approx(np.mean(x), rel=1e-9, abs=1e-9)
    assert ours.sd == pytest.approx(np.std(x, ddof=1), rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), rel=1e-9, abs=1e-7)


@given(
    st.lists(st.tuples(ordinary, ordinary), min_size=2, max_size=40).filter(
        lambda pairs: np.std([x - r for x, r in pairs]) > 1e-3
    )
)
def test_the_gap_has_the_interval_of_the_paired_t_test(pairs):
    x, r = zip(*pairs, strict=True)
    ours = paired_gap(dict(enumerate(x)), dict(enumerate(r)))
    theirs = stats.ttest_rel(x, r).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), rel=1e-9, abs=1e-7)


def test_the_interval_of_two_values_is_the_closed_form():
    """With one degree of freedom t is Cauchy: its 97.5 % point is tan(0.475 π)."""
    ours = estimate([1.0, 2.0])
    half = math.tan(0.475 * math.pi) * 0.5
    assert (ours.mean, ours.sd) == pytest.approx((1.5, math.sqrt(0.5)))
    assert (ours.low, ours.high) == pytest.approx((1.5 - half, 1.5 + half))


def test_the_interval_covers_the_true_mean_of_normal_seeds_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (4000, 5))
    intervals = [estimate(draw) for draw in draws]
    covered = np.mean([e.low <= 3.0 <= e.high for e in intervals])
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], Estimate(0, None, None, None, None), id="none"),
        pytest.param([None, math.nan, math.inf], Estimate(0, None, None, None, None), id="absent"),
        pytest.param([0.3], Estimate(1, 0.3, None, None, None), id="one"),
        pytest.param([0.3, None], Estimate(1, 0.3, None, None, None), id="one and an absent one"),
        pytest.param([0.1] * 3, Estimate(3, 0.1, 0.0, 0.1, 0.1), id="equal"),
    ],
)
def test_too_few_or_equal_values_give_what_is_defined_and_no_nan(values, expected):
    assert estimate(values) == expected


@given(st.lists(st.none() | st.floats(), max_size=12))
def test_no_input_gives_nan_or_infinity(values):
    e = estimate(values)
    for number in (e.mean, e.sd, e.low, e.high):
        assert number is None or math.isfinite(number)


@given(st.lists(finite, min_size=1, max_size=5))
def test_the_order_of_the_values_changes_no_bit(values):
    assert len({estimate(order) for order in permutations(values)}) == 1


def test_a_gap_is_taken_over_the_seeds_that_have_both():
    values = {1: 0.5, 2: 0.7, 3: None, 4: 0.9}
    reference = {1: 0.4, 2: 0.5, 3: 0.5, 5: 0.1}
    gap = paired_gap(values, reference)
    assert gap == estimate([0.5 - 0.4, 0.7 - 0.5])


def test_pairing_removes_what_the_seeds_share():
    seeds = {seed: float(100 * seed) for seed in range(6)}
    gap = paired_gap({seed: value + 1.0 for seed, value in seeds.items()}, seeds)
    assert (gap.mean, gap.low, gap.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_wilson_is_scipys(n, share):
    k = round(n * share)
    theirs = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_of_no_success_is_the_closed_form_and_starts_at_0():
    z = stats.norm.ppf(0.975)
    assert wilson(0, 10) == (0.0, pytest.approx(z**2 / (10 + z**2)))
    assert wilson(10, 10)[1] == 1.0


def test_no_trial_has_no_proportion():
    assert wilson(0, 0) is None


@pytest.mark.parametrize(
    ("accuracy", "collapsed"),
    [
        pytest.param(0.39, True, id="below half"),
        pytest.param(0.40, False, id="half"),
        pytest.param(0.41, False, id="above half"),
        pytest.param(None, False, id="no value"),
        pytest.param(math.nan, False, id="not finite"),
    ],
)
def test_a_run_collapsed_below_half_the_median_of_retrained(accuracy, collapsed):
    threshold = collapse_threshold([0.8, 0.9, 0.1, None, math.nan])
    assert threshold == 0.4
    assert is_collapsed(accuracy, threshold) is collapsed


def test_without_retrained_nothing_is_called_collapsed():
    assert collapse_threshold([None]) is None
    assert not is_collapsed(0.0, None)


def test_the_average_of_repeats_leaves_out_those_without_a_value():
    assert average([0.2, None, 0.4]) == pytest.approx(0.3)
    assert average([None]) is None
