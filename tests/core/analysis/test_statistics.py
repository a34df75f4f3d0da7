"""Statistics against scipy.stats and closed forms.

Covered: t interval and its coverage property, intervals near the end of a range, interquartile mean
and its bootstrap interval, variance components, paired differences, Wilson, Friedman and Nemenyi,
collapse rule; each with no, one, equal, missing, non-finite and huge values. Tests and verdicts:
test_hypotheses.py. How often intervals are right is simulated by benchmarks/coverage.py.
"""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from supreme_core.analysis.statistics import (
    LARGEST,
    Estimate,
    VarianceComponents,
    average,
    best_repeats,
    bootstrap_level,
    clipped,
    collapse_threshold,
    estimate,
    friedman,
    is_collapsed,
    paired_differences,
    robust,
    share_below,
    variance_components,
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


def test_rounding_is_measured_by_the_size_of_values_of_either_sign():
    for sign in (1, -1):
        values = {1: sign * (0.1 + 0.2), 2: sign * 0.8}
        assert paired_differences(values, {1: sign * 0.3, 2: sign * 0.8}) == [0.0, 0.0]


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
    for n in range(1, 40):
        assert (wilson(0, n)[0], wilson(n, n)[1]) == (0.0, 1.0)  # to the last bit


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


def test_a_number_counts_up_to_the_largest():
    assert average([LARGEST]) == LARGEST
    assert average([math.nextafter(LARGEST, math.inf)]) is None


def test_the_average_of_repeats_leaves_out_those_without_a_value():
    assert average([0.2, None, 0.4]) == pytest.approx(0.3)
    assert average([None]) is None


def test_near_the_end_of_a_range_the_interval_is_the_closed_form_on_the_logit_scale():
    x = [0.95, 0.99, 0.97, 1.0]
    ours = estimate(x, lowest=0.0, highest=1.0)
    mean, error = np.mean(x), stats.sem(x)
    half = stats.t.ppf(0.975, 3) * error / (mean * (1 - mean))  # d logit(p) = dp / (p (1 - p))
    logit = math.log(mean / (1 - mean))
    ends = [1 / (1 + math.exp(-(logit + side * half))) for side in (-1, 1)]
    assert ours.kind == "logit"
    assert (ours.low, ours.high) == pytest.approx(tuple(ends))
    twice = estimate([2 * value - 1 for value in x], lowest=-1.0, highest=1.0)
    assert (twice.low, twice.high) == pytest.approx((2 * ends[0] - 1, 2 * ends[1] - 1))


def test_above_a_lower_end_alone_the_interval_is_the_closed_form_on_the_log_scale():
    x = [0.5, 1.0, 4.5]
    ours = estimate(x, lowest=0.0)
    factor = math.exp(stats.t.ppf(0.975, 2) * stats.sem(x) / 2.0)
    assert ours.kind == "log"
    assert (ours.low, ours.high) == pytest.approx((2.0 / factor, 2.0 * factor))
    moved = estimate([value - 3 for value in x], lowest=-3.0)
    assert (moved.low, moved.high) == pytest.approx((2.0 / factor - 3, 2.0 * factor - 3))


def test_an_end_that_all_values_lie_on_has_no_scale_of_its_own():
    """A logit scale has no 0 and no 1, though the coarseness of a share gives these a spread."""
    for end in (0.0, 1.0):
        found = estimate([end] * 4, lowest=0.0, highest=1.0, resolution=0.1)
        assert (found.kind, found.sd) == ("t", 0.1)


@pytest.mark.parametrize("ends", [(0.0, None), (0.0, 100.0), (-100.0, 6.0)])
def test_an_end_three_standard_deviations_away_is_not_near(ends):
    """Three values 1 apart have a standard deviation of 1, and a half width of 2.5."""
    assert estimate([2.0, 3.0, 4.0], lowest=ends[0], highest=ends[1]).kind == "t"


@pytest.mark.parametrize(("low", "high"), [(None, 2.0), (0.5, None)])
def test_an_interval_of_which_an_end_is_not_known_is_not_cut(low, high):
    found = Estimate(2, 1.0, 1.0, low, high)
    assert clipped(found, 0.75, 1.25) == found


@pytest.mark.parametrize(("distance", "kind"), [(2.5, "log"), (2.99, "log"), (3.01, "t")])
def test_an_end_is_near_within_three_standard_deviations(distance, kind):
    x = stats.zscore(np.array([-2.0, -1.0, 0.5, 1.0, 1.5]), ddof=1)  # of which none is below -2.5
    assert estimate(x, lowest=-distance).kind == kind


def test_an_iqm_has_an_interval_from_ten_values_on():
    x = list(np.linspace(0.1, 0.9, 10))
    assert robust(x[:9]).low is None
    assert robust(x).low is not None


@pytest.mark.parametrize(
    "x",
    [
        pytest.param([0.5, 0.51, 0.49], id="far from the ends"),
        pytest.param([1.0, 1.0, 1.0], id="all at the end"),
        pytest.param([0.9, 1.2, 0.8], id="above the range"),
        pytest.param([0.1, -0.2, 0.2], id="below the range"),
    ],
)
def test_elsewhere_a_range_changes_nothing(x):
    assert estimate(x, lowest=0.0, highest=1.0) == estimate(x)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
@example([0.990625, 0.99375])  # further than 3 s from the end, and a t interval to 1.012
def test_an_interval_of_a_bounded_metric_contains_its_mean_and_never_leaves_the_range(x):
    e = estimate(x, lowest=0.0, highest=1.0)
    assert -1e-12 <= e.low <= e.mean + 1e-12
    assert e.mean - 1e-12 <= e.high <= 1 + 1e-12


@given(st.lists(ordinary, min_size=1, max_size=9))
def test_a_robust_summary_is_numpys(x):
    ours = robust(x)
    assert (ours.smallest, ours.largest) == (min(x), max(x))
    assert ours.median == pytest.approx(np.median(x))
    cut = len(x) // 4
    assert ours.iqm == pytest.approx(np.mean(sorted(x)[cut : len(x) - cut]))
    assert (ours.low, ours.high) == (None, None)  # too few for a bootstrap


def test_the_interval_of_the_iqm_is_the_bias_corrected_and_accelerated_bootstrap():
    """Efron 1987 as it is written, with ten times as many samples of other random numbers."""
    x = np.random.default_rng(3).exponential(size=16)
    samples = np.random.default_rng(4).choice(x, (20_000, 16))
    means = np.sort(samples, axis=1)[:, 4:12].mean(axis=1)
    centre = np.sort(x)[4:12].mean()
    bias = stats.norm.ppf((np.mean(means < centre) + np.mean(means <= centre)) / 2)
    left_out = [np.sort(np.delete(x, i))[3:12].mean() for i in range(16)]
    skew = np.mean(left_out) - left_out
    acceleration = np.sum(skew**3) / (6 * np.sum(skew**2) ** 1.5)
    ends = []
    for tail in ((1 - bootstrap_level(16)) / 2, (1 + bootstrap_level(16)) / 2):
        z = bias + stats.norm.ppf(tail)
        ends.append(np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z))))
    ours = robust(x)
    assert (ours.low, ours.high) == pytest.approx(tuple(ends), abs=0.04 * (ends[1] - ends[0]))
    assert ours.low < centre < ours.high


def test_the_level_of_a_bootstrap_makes_a_normal_interval_as_wide_as_that_of_t():
    for n in (5, 10, 100):
        z = stats.norm.ppf((1 + bootstrap_level(n)) / 2)
        plug_in = math.sqrt((n - 1) / n)  # what a bootstrap takes for the deviation
        assert z * plug_in == pytest.approx(stats.t.ppf(0.975, n - 1))


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [
        pytest.param([0.25] * 12, 0.25, 0.25, id="equal"),
        pytest.param([0.0] * 11 + [1.0], 0.0, 0.0, id="equal but for one"),
    ],
)
def test_where_the_middle_does_not_vary_the_iqm_has_an_interval_all_the_same(x, low, high):
    ours = robust(x)
    assert (ours.low, ours.high) == (low, high)


def test_nothing_has_no_robust_summary():
    assert robust([None, math.nan]) is None


@given(st.lists(ordinary, min_size=10, max_size=14), st.randoms())
def test_the_order_of_the_seeds_changes_no_bit_of_a_robust_summary(x, random):
    assert robust(random.sample(x, len(x))) == robust(x)


def balanced(seeds, repeats, draws, *, scale=(3.0, 2.0, 1.0), of=0):
    """y_ijk with known deviations."""
    random = np.random.default_rng(of)
    a = random.normal(0, scale[0], (seeds, 1, 1))
    b = random.normal(0, scale[1], (seeds, repeats, 1))
    return a + b + random.normal(0, scale[2], (seeds, repeats, draws))


def test_variance_components_of_a_balanced_design_are_the_textbooks():
    y = balanced(6, 4, 3)
    runs, seeds = y.mean(axis=2), y.mean(axis=(1, 2))
    ms_e = np.sum((y - runs[..., None]) ** 2) / (6 * 4 * 2)
    ms_u = 3 * np.sum((runs - seeds[:, None]) ** 2) / (6 * 3)
    ms_t = 12 * np.sum((seeds - y.mean()) ** 2) / 5
    ours = variance_components(y.tolist())
    assert ours.evaluation == pytest.approx(ms_e)
    assert ours.unlearning == pytest.approx((ms_u - ms_e) / 3)
    assert ours.training == pytest.approx((ms_t - ms_u) / 12)


def test_variance_components_of_one_level_are_scipys_analysis_of_variance():
    groups = [[1.0, 2.0, 4.0], [5.0, 9.0], [3.0, 3.5, 8.0, 2.0]]
    found = variance_components([[[y] for y in group] for group in groups])
    n = [len(group) for group in groups]
    within = sum(np.var(group, ddof=1) * (len(group) - 1) for group in groups) / (sum(n) - 3)
    weight = (sum(n) - sum(k * k for k in n) / sum(n)) / 2
    f = stats.f_oneway(*groups).statistic  # which is MS_t / MS_u
    assert found.unlearning == pytest.approx(within)
    assert found.training == pytest.approx(max(0.0, (f - 1) * within / weight))
    assert found.evaluation is None


def test_variance_components_are_right_on_average_whatever_is_missing():
    """Estimates are unbiased but for those cut at 0, and none of these are."""
    holes = np.random.default_rng(1).random((25, 4, 3)) < 0.3
    found = []
    for of in range(40):
        y = np.where(holes, np.nan, balanced(25, 4, 3, scale=(3.0, 2.0, 1.0), of=of))
        found.append(variance_components(y.tolist()))
    means = [
        np.mean([getattr(each, name) for each in found])
        for name in VarianceComponents.__annotations__
    ]
    assert means == pytest.approx([9.0, 4.0, 1.0], rel=0.12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([[[1.0]]], VarianceComponents(None, None, None), id="one value"),
        pytest.param(
            [[[1.0]], [[3.0]]], VarianceComponents(2.0, None, None), id="seeds without repeats"
        ),
        pytest.param(
            [[[1.0], [3.0]]], VarianceComponents(None, 2.0, None), id="repeats of one seed"
        ),
        pytest.param([[[0.1]] * 3, [[0.1]] * 3], VarianceComponents(0.0, 0.0, None), id="equal"),
        pytest.param(
            [[[0.0], [2.0]], [[2.0], [0.0]]], VarianceComponents(0.0, 2.0, None), id="cut at 0"
        ),
        pytest.param([[[1e300], [-1e300]]] * 2, None, id="huge"),
        pytest.param(
            [[[None], [1.0]], [[math.nan]]], VarianceComponents(None, None, None), id="missing"
        ),
    ],
)
def test_a_component_that_cannot_be_told_is_none(values, expected):
    assert variance_components(values) == expected


def test_a_method_without_chance_has_no_component_of_unlearning():
    found = variance_components([[[0.3]] * 5, [[0.4]] * 5, [[0.7]] * 5])
    assert found.unlearning == 0.0
    assert found.training == pytest.approx(np.var([0.3, 0.4, 0.7], ddof=1))


def test_the_best_number_of_repeats_has_the_least_variance_for_its_cost():
    within, between, seed_cost, repeat_cost = 4.0, 1.0, 90.0, 10.0

    def variance(j, budget=1e6):
        seeds = budget / (seed_cost + j * repeat_cost)
        return between / seeds + within / (seeds * j)

    least = min(range(1, 50), key=variance)
    found = best_repeats(
        within=within, between=between, seed_cost=seed_cost, repeat_cost=repeat_cost
    )
    assert found == least == 6
    assert best_repeats(within=0.0, between=1.0, seed_cost=9.0, repeat_cost=1.0) == 1
    less = {"within": 4.0, "between": 0.25, "seed_cost": 0.9, "repeat_cost": 0.1}
    assert best_repeats(**less) == 12
    for unknown in ("between", "seed_cost", "repeat_cost"):
        assert best_repeats(**{**less, unknown: 0.0}) is None


def test_a_tie_counts_half():
    assert share_below([-1.0, 0.0, 2.0, None]) == 0.5
    assert share_below([None]) is None


def test_friedman_is_scipys_and_nemenyi_is_the_published_table():
    blocks = np.random.default_rng(5).normal([0.0, 0.3, 0.6, 2.0], size=(9, 4))
    ours = friedman(blocks)
    assert ours.chi_square == pytest.approx(stats.friedmanchisquare(*blocks.T).statistic)
    ranks = stats.rankdata(blocks, axis=1).mean(axis=0)
    textbook = 12 * 9 / (4 * 5) * (sum(ranks**2) - 4 * 25 / 4)
    assert ours.chi_square == pytest.approx(textbook)
    f = 8 * textbook / (9 * 3 - textbook)
    assert ours.p == pytest.approx(stats.f.sf(f, 3, 24))
    assert ours.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 54), abs=1e-3)


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_quantiles_of_nemenyi_are_those_of_demsars_table(k, q):
    found = friedman(np.arange(6.0 * k).reshape(6, k))
    assert found.critical_difference / math.sqrt(k * (k + 1) / 36) == pytest.approx(q, abs=1e-3)


def test_friedman_bears_ties_and_full_agreement_and_refuses_too_few():
    same = friedman(np.ones((6, 3)))
    assert (same.chi_square, same.p) == (0.0, 1.0)
    agreed = friedman(np.tile([1.0, 2.0, 3.0], (6, 1)))
    assert (agreed.chi_square, agreed.p) == (pytest.approx(12.0), pytest.approx(0.0, abs=1e-12))
    ranks = np.array([[1.0, 2.0, 3.0]] * 5 + [[1.5, 1.5, 3.0]])  # all but for one tie
    nearly = stats.friedmanchisquare(*ranks.T).statistic
    assert 12 - nearly < 1
    assert friedman(ranks).p == pytest.approx(stats.f.sf(5 * nearly / (12 - nearly), 2, 10))
    assert friedman(np.zeros((5, 3))) is None
    assert friedman(np.zeros((9, 2))) is None
