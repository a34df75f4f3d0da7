"""Statistics against scipy.stats and closed forms.

Covered: t interval and its coverage property, paired differences, sign flips, equivalence, Holm,
verdicts, Wilson, collapse rule; each with no, one, equal, missing, non-finite and huge values. How
often intervals and verdicts are right is simulated by benchmarks/coverage.py.
"""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from supreme_core.statistics import (
    Estimate,
    average,
    collapse_threshold,
    equivalence_p,
    estimate,
    fewest_for_a_difference,
    holm,
    is_collapsed,
    joint_verdict,
    paired_differences,
    root_mean_square,
    sign_flip_p,
    verdict,
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
    ours = estimate(paired_differences(dict(enumerate(x)), dict(enumerate(r))))
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
    assert paired_differences(values, reference) == [0.5 - 0.4, 0.7 - 0.5]


def test_pairing_removes_what_the_seeds_share():
    seeds = {seed: float(100 * seed) for seed in range(6)}
    gap = estimate(paired_differences({s: value + 1.0 for s, value in seeds.items()}, seeds))
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


differences = st.lists(ordinary, min_size=1, max_size=9)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=9).filter(sum))
def test_sign_flips_are_counted_as_scipy_makes_them(d):
    """But for a sum of 0, where scipy takes twice the smaller side, which is not all of them."""
    theirs = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p([x / 7 for x in d]) == pytest.approx(min(1.0, theirs.pvalue), abs=1e-12)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_sign_flips_are_counted_as_a_loop_makes_them(d):
    """Of small whole numbers, whose sums are exact and often equal."""
    flips = product((-1, 1), repeat=len(d))
    sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in flips]
    assert sign_flip_p(d) == pytest.approx(np.mean([each >= abs(sum(d)) for each in sums]))


@pytest.mark.parametrize("n", [1, 2, 5, 6, 20, 30])
def test_the_smallest_p_of_sign_flips_is_the_closed_form(n):
    assert sign_flip_p([0.1 * (i + 1) for i in range(n)]) == pytest.approx(2 / 2**n)


def test_many_sign_flips_are_drawn_and_always_the_same():
    d = np.random.default_rng(1).normal(0.4, 1.0, 40)
    assert sign_flip_p(d) == sign_flip_p(d)
    assert sign_flip_p(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)


@given(differences)
def test_no_order_and_no_common_sign_changes_the_p_of_sign_flips(d):
    assert sign_flip_p(d) == sign_flip_p(d[::-1]) == sign_flip_p([-x for x in d])


@given(
    st.lists(ordinary, min_size=2, max_size=20).filter(lambda x: np.std(x) > 1e-3),
    st.floats(0.1, 1e6),
)
def test_equivalence_is_the_larger_of_two_one_sided_t_tests(d, margin):
    theirs = max(
        stats.ttest_1samp(d, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(d, margin, alternative="less").pvalue,
    )
    assert equivalence_p(d, margin) == pytest.approx(theirs, abs=1e-9)
    inside = estimate(d, level=0.90)
    if abs(theirs - 0.05) > 1e-9:
        assert (theirs < 0.05) == (-margin < inside.low and inside.high < margin)


def test_equal_differences_are_within_a_margin_or_not():
    assert equivalence_p([0.5] * 3, 1.0) == 0.0
    assert equivalence_p([1.0] * 3, 1.0) == 1.0
    assert equivalence_p([0.5], 1.0) is None


@pytest.mark.parametrize(("methods", "seeds"), [(1, 6), (2, 7), (6, 8), (28, 11)])
def test_a_difference_needs_more_seeds_the_more_methods_there_are(methods, seeds):
    assert fewest_for_a_difference(methods) == seeds
    for n, is_enough in ((seeds, True), (seeds - 1, False)):
        p = sign_flip_p([1.0 + i for i in range(n)])
        assert (holm({str(i): p for i in range(methods)})["0"] < 0.05) == is_enough


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), max_size=6))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values):
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for place, name in enumerate(sorted(p_values, key=p_values.get)):
            if p_values[name] * (len(p_values) - place) > level:
                break
            rejected.add(name)
        assert {name for name, p in adjusted.items() if p <= level} == rejected


def test_holm_is_what_was_worked_out_by_hand():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert adjusted == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
    }
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("n", "difference", "equivalence", "expected"),
    [
        (10, 0.001, 0.7, "different"),
        (10, 0.4, 0.001, "equivalent"),
        (10, 0.001, 0.001, "equivalent"),
        (10, 0.4, 0.4, "inconclusive"),
        (4, 0.001, 0.001, "inconclusive"),
        (10, 0.001, None, "different"),
        (10, 0.4, None, "inconclusive"),
    ],
)
def test_a_verdict_needs_evidence_for_either_side(n, difference, equivalence, expected):
    assert verdict(n, difference_p=difference, equivalence_p=equivalence) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["equivalent", "equivalent"], "equivalent"),
        (["equivalent", "inconclusive"], "inconclusive"),
        (["equivalent", "different", "inconclusive"], "different"),
        ([], "inconclusive"),
    ],
)
def test_all_metrics_are_equivalent_only_where_each_is(verdicts, expected):
    assert joint_verdict(verdicts) == expected


def test_the_root_mean_square_is_the_deviation_around_zero():
    assert root_mean_square([3.0, None, -4.0]) == pytest.approx(math.sqrt(12.5))
    assert root_mean_square([]) is None


@given(st.lists(st.none() | st.floats(), max_size=12), st.floats(1e-300, 1e300))
def test_no_input_gives_a_p_outside_its_range(values, margin):
    for p in (sign_flip_p(values), equivalence_p(values, margin)):
        assert p is None or 0 <= p <= 1
