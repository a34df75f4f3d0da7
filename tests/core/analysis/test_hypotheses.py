"""Tests, adjustments and verdicts against scipy.stats, slow loops and closed forms.

Covered: paired t, sign flips, signed ranks, equivalence, non-inferiority, Holm, verdicts by row and
jointly, the margin from noise, the separation of two kinds of models; each with few, equal and
missing values. How often verdicts are right is simulated by benchmarks/coverage.py.
"""

import math
import tracemalloc
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from supreme_core.analysis.hypotheses import (
    Joint,
    difference_p,
    equivalence_p,
    flips_can_reject,
    holm,
    joint_verdict,
    noise_margin,
    noninferiority,
    separation,
    sign_flip_p,
    sign_flip_p_values,
    signed_rank_p,
    verdict,
)
from supreme_core.analysis.statistics import LEVEL, estimate

ordinary = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
differences = st.lists(ordinary, min_size=1, max_size=9)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=9).filter(sum))
def test_sign_flips_are_counted_as_scipy_makes_them(d):
    """A sum of 0 is left out: scipy takes twice the smaller side there, which is not all flips."""
    theirs = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p([x / 7 for x in d]) == pytest.approx(min(1.0, theirs.pvalue), abs=1e-12)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_sign_flips_are_counted_as_a_loop_makes_them(d):
    """Differences are small whole numbers, whose sums are exact and often equal."""
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


def test_many_sign_flips_count_what_was_seen_among_them():
    """Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9(1), 39: never a p of 0."""
    d = np.arange(1.0, 32.0)
    assert sign_flip_p(d) == 1 / 100_001
    d[::2] *= -1
    signs = np.random.default_rng(5).choice([-1, 1], (100_000, 31))
    share = np.mean(abs(signs @ d) >= abs(d.sum()))
    assert sign_flip_p(d) == pytest.approx(share, abs=4 * math.sqrt(2 * share * (1 - share) / 1e5))


def test_random_flips_that_tests_share_are_those_of_each_by_itself():
    """And those that were drawn in one piece, so that no published p changes."""
    draw = np.random.default_rng(2).normal
    tests = [draw(0.2, 1.0, n) for n in (31, 5, 40, 31)] + [[], np.zeros(40), [1.0, -1.0] * 20]
    found = sign_flip_p_values(tests)
    assert found == [sign_flip_p(each) for each in tests]
    assert found[-3:] == [None, 1.0, 1.0]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (100_000, 31))
    for place in (0, 3):
        d = np.sort(np.abs(tests[place]))
        seen = (np.abs(signs @ d) >= abs(tests[place].sum()) * (1 - 1e-12)).sum()
        assert found[place] == (seen + 1) / 100_001


def test_random_flips_of_very_many_seeds_need_little_memory():
    """All of 1000 seeds at once would be 1.5 GB, where a worker of the operator has 2."""
    tracemalloc.start()
    try:
        sign_flip_p([1.0, -1.0, 2.0] * 333)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


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


@given(st.lists(st.none() | st.floats(), max_size=12), st.floats(1e-300, 1e300))
def test_no_input_gives_a_p_outside_its_range(values, margin):
    for p in (sign_flip_p(values), equivalence_p(values, margin)):
        assert p is None or 0 <= p <= 1


@given(differences.filter(any))
def test_signed_ranks_are_scipys(d):
    assert signed_rank_p(d) == pytest.approx(stats.wilcoxon([x for x in d if x]).pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [14, 20, 30])
def test_signed_ranks_of_many_ties_are_counted_exactly(n):
    """The ways to reach each sum are added up; scipy uses a normal distribution there."""
    d = np.random.default_rng(n).integers(-3, 6, n)
    d[d == 0] = 6
    ranks = (2 * stats.rankdata(abs(d))).astype(int)
    ways = Counter({0: 1})
    for rank in ranks:
        before, ways = ways, Counter()
        for total, count in before.items():
            ways[total - rank] += count
            ways[total + rank] += count
    observed = abs((np.sign(d) * ranks).sum())
    extreme = sum(count for total, count in ways.items() if abs(total) >= observed)
    assert signed_rank_p(list(d)) == pytest.approx(extreme / 2 ** len(d), rel=1e-12)


@pytest.mark.parametrize("n", [31, 60])
def test_signed_ranks_of_very_many_are_scipys(n):
    d = np.random.default_rng(n).normal(0.3, 1.0, n)
    assert signed_rank_p(list(d)) == stats.wilcoxon(np.sort(d)).pvalue


def test_no_difference_at_all_has_a_p_of_1_by_signed_ranks():
    assert signed_rank_p([0.0, 0.0]) == 1.0
    assert signed_rank_p([]) is None


@given(st.lists(ordinary, min_size=2, max_size=20).filter(lambda x: np.std(x) > 1e-3))
def test_noninferiority_is_the_one_sided_t_test(d):
    ours = noninferiority(d, 10.0)
    theirs = stats.ttest_1samp(d, -10.0, alternative="greater")
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)
    bound = theirs.confidence_interval(0.95).low
    assert ours.low == pytest.approx(bound, rel=1e-9, abs=1e-7)
    if abs(ours.p - 0.05) > 1e-9:
        assert (ours.p < 0.05) == (ours.low > -10.0)


def test_equal_differences_are_inferior_or_not():
    assert noninferiority([-0.5] * 3, 1.0).p == 0.0
    assert noninferiority([-1.0] * 3, 1.0).p == 1.0
    assert noninferiority([0.5], 1.0) is None


def test_a_loss_at_the_margin_is_called_none_one_time_in_twenty():
    draws = np.random.default_rng(2).normal(-1.0, 0.7, (2000, 8))
    wrong = np.mean([noninferiority(d, 1.0).p < 0.05 for d in draws])
    assert wrong == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))


varying = st.lists(ordinary, min_size=2, max_size=20).filter(lambda x: np.std(x) > 1e-3)


@given(varying)
def test_a_difference_is_that_of_the_paired_t_test(d):
    assert difference_p(d) == pytest.approx(stats.ttest_1samp(d, 0.0).pvalue, abs=1e-9)
    interval = estimate(d)
    if abs(difference_p(d) - 0.05) > 1e-9:
        assert (difference_p(d) < 0.05) == (interval.low > 0 or interval.high < 0)


@pytest.mark.parametrize(
    ("d", "margin", "expected"),
    [
        ([0.5] * 5, None, 0.0),
        ([0.0] * 5, None, 1.0),
        ([0.5] * 5, 0.4, 0.0),
        ([-0.5] * 5, 0.4, 0.0),
        ([0.5] * 5, 0.5, 1.0),
        ([0.5] * 5, 0.6, 1.0),
        ([0.5], None, None),
        ([], None, None),
    ],
)
def test_a_gap_without_spread_is_judged_by_its_margin(d, margin, expected):
    assert difference_p(d, margin=margin) == expected


def test_the_deviation_is_never_below_what_a_share_resolves():
    """Equal gaps of 0.02 in shares of 100 samples, worked out by hand."""
    resolution = 1 / (100 * math.sqrt(12))
    error = resolution / math.sqrt(5)
    t = 0.02 / error
    assert difference_p([0.02] * 5, resolution=resolution) == pytest.approx(2 * stats.t.sf(t, 4))
    below = stats.t.cdf((0.02 - 0.03) / error, 4)
    assert equivalence_p([0.02] * 5, 0.03, resolution=resolution) == pytest.approx(below)
    bound = noninferiority([-0.02] * 5, 0.03, resolution=resolution)
    assert bound.low == pytest.approx(-0.02 - stats.t.ppf(0.95, 4) * error)
    assert bound.p == pytest.approx(below)
    wide = [0.0, 0.5, -0.3, 0.2, 0.1]
    assert difference_p(wide, resolution=resolution) == difference_p(wide)


@pytest.mark.parametrize(
    ("n", "methods", "can"),
    [(5, 1, False), (6, 1, True), (7, 2, True), (7, 6, False), (8, 6, True)],
)
def test_sign_flips_need_more_seeds_the_more_methods_there_are(n, methods, can):
    assert flips_can_reject(n, methods) == can
    p = sign_flip_p([1.0 + i for i in range(n)])
    assert (holm({str(i): p for i in range(methods)})["0"] < 0.05) == can


@pytest.mark.parametrize(
    ("n", "difference", "equivalence", "is_complete", "expected"),
    [
        (10, 0.001, 0.7, True, "different"),
        (10, 0.4, 0.001, True, "equivalent"),
        (10, 0.001, 0.001, True, "equivalent"),
        (10, 0.4, 0.4, True, "inconclusive"),
        (10, 0.001, None, True, "different"),
        (10, 0.4, None, True, "inconclusive"),
        (10, None, None, True, "inconclusive"),
        (5, 0.4, 0.049, True, "equivalent"),
        (5, 0.4, 0.051, True, "inconclusive"),
        (4, 0.4, 0.001, True, "inconclusive"),
        (4, 0.001, 0.001, True, "different"),
        (3, 0.049, None, True, "different"),
        (3, 0.051, None, True, "inconclusive"),
        (2, 0.0, 0.0, True, "inconclusive"),
        (10, 0.4, 0.001, False, "inconclusive"),
        (10, 0.001, 0.001, False, "different"),
    ],
)
def test_a_verdict_needs_evidence_for_either_side(
    n, difference, equivalence, is_complete, expected
):
    found = verdict(n, difference_p=difference, equivalence_p=equivalence, is_complete=is_complete)
    assert found == expected


def test_a_p_at_the_level_is_no_evidence():
    for difference, equivalence in ((1 - LEVEL, None), (None, 1 - LEVEL)):
        found = verdict(9, difference_p=difference, equivalence_p=equivalence)
        assert found == "inconclusive"


@pytest.mark.parametrize(
    ("rows", "expected", "joint"),
    [
        ([("equivalent", 0.9)], "equivalent", Joint(1, 1, 0, 0)),
        ([("different", 1 - LEVEL)], "inconclusive", Joint(1, 0, 1, 0)),
        ([("equivalent", 0.9)] * 2, "equivalent", Joint(2, 2, 0, 0)),
        ([("equivalent", 0.001)] * 2, "equivalent", Joint(2, 2, 0, 0)),
        ([("equivalent", 0.9), ("inconclusive", None)], "inconclusive", Joint(2, 1, 0, 0)),
        ([("different", 0.06), ("different", 0.04)], "different", Joint(2, 0, 2, 1)),
        ([("different", 0.06), ("equivalent", 0.9)], "inconclusive", Joint(2, 1, 1, 0)),
        ([("different", 0.0501)], "inconclusive", Joint(1, 0, 1, 0)),
        ([], "inconclusive", Joint(0, 0, 0, 0)),
    ],
)
def test_rows_are_equivalent_together_where_each_is_and_different_where_one_is_after_correction(
    rows, expected, joint
):
    found = joint_verdict(rows)
    assert (found.verdict, found) == (expected, joint)


@given(
    st.lists(
        st.lists(st.none() | st.floats(0, 1).map(lambda x: round(x, 4)), max_size=8), max_size=4
    )
)
def test_the_margin_from_noise_is_the_lower_bound_of_a_deviation(groups):
    """The pooled variance and the quantile of χ² give it, group by group and value by value."""
    given_groups = [[x for x in group if x is not None] for group in groups]
    squares = sum(sum((x - np.mean(g)) ** 2 for x in g) for g in given_groups if g)
    degrees = sum(len(g) - 1 for g in given_groups if g)
    found = noise_margin(groups)
    if not degrees or squares < 1e-20:
        assert found is None or found < 1e-9
        return
    variance = squares / degrees
    bound = math.sqrt(variance) * math.sqrt(degrees / stats.chi2.ppf(0.95, degrees))
    assert found == pytest.approx(math.sqrt(2) * bound)


def test_the_margin_from_noise_is_below_the_deviation_nineteen_times_in_twenty():
    draws = np.random.default_rng(3).normal(0.0, 1.0, (4000, 5))
    below = np.mean([noise_margin([x]) < math.sqrt(2) for x in draws])
    assert below == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


def test_one_value_or_none_gives_no_noise():
    assert noise_margin([[0.5], [0.7, None]]) is None
    assert noise_margin([[0.5, 0.5]]) is None
    assert noise_margin([]) is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=9))
def test_separation_counts_pairs_of_different_seeds(pairs):
    """One by one: larger counts one, equal one half, and a seed never meets itself."""
    values = {seed: x / 6 for seed, (x, _) in enumerate(pairs)}
    reference = {seed: r / 6 for seed, (_, r) in enumerate(pairs)}
    won = [
        1.0 if values[i] > reference[j] else 0.5 if values[i] == reference[j] else 0.0
        for i, j in product(values, reference)
        if i != j
    ]
    found = separation(values, reference)
    assert found.auc == pytest.approx(np.mean(won))
    assert 0.0 <= found.low <= found.auc <= found.high <= 1.0
    swapped = separation(reference, values)
    assert (swapped.low, swapped.high) == pytest.approx((1 - found.high, 1 - found.low))


@pytest.mark.parametrize("larger", [0, 1, 3, 5, 8])
def test_the_interval_of_a_separation_is_newcombes_score_interval(larger):
    """All θ with |auc - θ| ≤ z √V(θ), found on a fine grid."""
    values = {seed: (1.0 if seed < larger else -1.0) for seed in range(8)}
    found = separation(values, dict.fromkeys(range(8), 0.0))
    theta = np.linspace(0, 1, 200_001)
    spread = 1 + 7 * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    half = stats.norm.ppf(0.975) * np.sqrt(theta * (1 - theta) * spread) / 8
    inside = theta[np.abs(larger / 8 - theta) <= half + 1e-12]
    assert found.auc == pytest.approx(larger / 8)
    assert (found.low, found.high) == pytest.approx((inside[0], inside[-1]), abs=1e-4)


def test_kinds_without_overlap_have_an_interval_with_a_width():
    found = separation(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 0.0))
    assert (found.auc, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.6427, abs=1e-4)


def test_below_five_seeds_that_have_both_nothing_is_said_of_separation():
    values = {1: 0.1, 2: 0.2, 3: None, 4: 0.4, 5: 0.5, 6: math.nan}
    assert separation(values, dict.fromkeys(range(1, 7), 0.0)) is None
    assert separation(values | {3: 0.3}, dict.fromkeys(range(1, 7), 0.0)).auc == 1.0
