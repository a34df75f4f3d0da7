"""Statistics of tuning against all sets of trials one by one, scipy and closed forms.

Covered: best of k with failed and with equal trials, on the same and on other seeds; sensitivity to
a setting; the place of the settings as given and of models among methods; ends of ranges; gain,
optimism and cost.
"""

from itertools import combinations
from math import comb, inf
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from supreme_core.analysis.trials import (
    BestOf,
    MeanShift,
    Place,
    TuningCost,
    best_of,
    cost_of_tuning,
    gain,
    is_near_an_end,
    optimism,
    percentile,
    places,
    sensitivity,
)
from supreme_core.tuning.budget import retraining_passes

few = st.lists(st.integers(0, 6) | st.none(), min_size=1, max_size=7)
"""Objectives of trials, many of them equal or missing."""
numbers = st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True)


def worst(value):
    return inf if value is None else value


def winner(trials, chosen):
    """Return the place of the best of the chosen trials, the earliest of equals."""
    return min(chosen, key=lambda at: (worst(trials[at]), at))


class TestBestOf:
    @given(few)
    def test_it_is_the_mean_over_all_sets_of_trials(self, trials):
        for found in best_of(trials):
            sets = [*combinations(range(len(trials)), found.k)]
            bests = [trials[winner(trials, chosen)] for chosen in sets]
            lost = sum(each is None for each in bests)
            assert found.all_failed == pytest.approx(lost / len(sets))
            assert found.expected == (None if lost else pytest.approx(mean(bests)))

    @given(few, st.data())
    def test_on_other_seeds_it_is_what_the_winners_of_these_have_there(self, trials, data):
        then = data.draw(st.lists(st.integers(0, 9), min_size=len(trials), max_size=len(trials)))
        for found in best_of(trials, then):
            sets = [*combinations(range(len(trials)), found.k)]
            expected = mean(then[winner(trials, chosen)] for chosen in sets)
            can_fail = found.k <= trials.count(None)
            assert found.expected == (None if can_fail else pytest.approx(expected))

    @pytest.mark.parametrize("n", [2, 16, 65])
    def test_evenly_spaced_trials_have_a_closed_form(self, n):
        """Least of k of 1, ..., n is (n + 1) / (k + 1) on average."""
        for found in best_of([float(at) for at in range(n, 0, -1)]):
            assert found == BestOf(found.k, pytest.approx((n + 1) / (found.k + 1)), 0.0)

    def test_a_winner_without_a_value_on_other_seeds_leaves_no_mean(self):
        assert [each.expected for each in best_of([3, 1, 2], [0.5, 0.25, None])] == [
            None,
            None,
            0.25,
        ]

    def test_without_trials_there_is_no_curve(self):
        assert best_of([]) == []

    @pytest.mark.parametrize("value", [None, float("nan"), inf])
    def test_what_is_no_number_has_failed(self, value):
        assert best_of([value, 2.0]) == [BestOf(1, None, 0.5), BestOf(2, 2.0, 0.0)]


def of_groups(groups, n):
    """Share of variance by scipy's statistic of Kruskal and Wallis."""
    h = stats.kruskal(*groups).statistic
    return max(0.0, (h - len(groups) + 1) / (n - len(groups)))


class TestSensitivity:
    @given(st.lists(st.integers(0, 9), min_size=16, max_size=16).filter(lambda x: len(set(x)) > 1))
    def test_quarters_of_a_range_are_compared_as_scipy_does(self, trials):
        settings = np.random.default_rng(len(set(trials))).permutation(16) / 3
        quarters = np.array(trials)[np.argsort(settings)].reshape(4, 4)
        found = sensitivity(settings.tolist(), [float(value) for value in trials])
        assert found == pytest.approx(of_groups(quarters, 16), abs=1e-12)

    def test_few_values_are_groups_of_their_own(self):
        settings = ["sgd", "adam", "sgd", "adam", "adam", "sgd", "sgd"]
        trials = [0.1, 0.5, 0.2, 0.4, 0.6, 0.45, 0.3]
        groups = [[0.1, 0.2, 0.45, 0.3], [0.5, 0.4, 0.6]]
        assert sensitivity(settings, trials) == pytest.approx(of_groups(groups, 7))

    @pytest.mark.parametrize(
        ("settings", "sizes"),
        [
            ([1, 2, 2, 2, 2, 3, 4, 5], (1, 4, 1, 2)),
            ([1, 2, 2, 3, 4, 5, 6, 7], (1, 3, 2, 2)),
            ([1, 1, 1, 1, 1, 2, 3, 4], (5, 1, 1, 1)),
        ],
        ids=["many", "over the edge of a quarter", "four values"],
    )
    def test_equal_numbers_stay_together(self, settings, sizes):
        trials = [8.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 9.0]
        groups = np.split(np.array(trials), np.cumsum(sizes)[:-1])
        assert sensitivity(settings, trials) == pytest.approx(of_groups(groups, 8))

    def test_failed_trials_are_the_worst_and_equal_ones(self):
        settings, trials = ["a"] * 4 + ["b"] * 4, [0.1, 0.2, 0.3, 0.4, 0.5, None, 0.35, None]
        groups = [trials[:4], [0.5, 9.0, 0.35, 9.0]]
        assert sensitivity(settings, trials) == pytest.approx(of_groups(groups, 8))

    def test_a_best_value_in_the_middle_is_seen_and_an_idle_setting_is_not(self):
        random = np.random.default_rng(3)
        place, idle = random.uniform(size=(2, 64))
        trials = ((place - 0.5) ** 2 + random.normal(0, 0.01, 64)).tolist()
        assert sensitivity(place.tolist(), trials) > 0.6
        assert sensitivity(idle.tolist(), trials) < 0.1

    def test_truth_values_are_no_numbers(self):
        assert sensitivity([True, False] * 3, [1.0, 2.0] * 3) == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("settings", "trials"),
        [
            ([1.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]),
            ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [None] * 6),
            ([], []),
        ],
        ids=["one value", "as many groups as trials", "all have failed", "no trials"],
    )
    def test_where_nothing_can_be_told_there_is_no_share(self, settings, trials):
        assert sensitivity(settings, trials) is None


class TestPlaces:
    @given(st.integers(0, 6) | st.none(), few)
    def test_the_percentile_is_the_share_that_scipy_finds(self, mine, trials):
        theirs = [-worst(value) for value in trials]
        expected = stats.percentileofscore(np.clip(theirs, -99, 0), max(-worst(mine), -99), "mean")
        assert percentile(mine, trials) == pytest.approx(expected / 100)

    def test_without_trials_there_is_no_percentile(self):
        assert percentile(0.5, []) is None

    def test_a_model_is_ranked_among_the_methods_and_names_those_it_beats(self):
        methods = {"ssd": 0.2, "scrub": 0.1, "iu": None, "ct": 0.4}
        found = places({"original": 0.2, "untrained": None, "retrained": 0.05}, methods)
        assert found == {
            "original": Place(2.5, ("iu", "ct")),
            "untrained": Place(4.5, ()),
            "retrained": Place(1, ("ssd", "scrub", "iu", "ct")),
        }

    @given(st.integers(0, 6) | st.none(), few)
    def test_the_rank_is_the_one_that_scipy_gives_it_among_them(self, mine, trials):
        [found] = places({"it": mine}, dict(enumerate(trials))).values()
        ranks = stats.rankdata([worst(value) for value in (mine, *trials)])
        assert found.rank == pytest.approx(ranks[0])


@pytest.mark.parametrize(
    ("value", "low", "high", "by_logarithm", "near"),
    [
        (0.5, 0, 10, False, True),
        (0.51, 0, 10, False, False),
        (9.49, 0, 10, False, False),
        (9.5, 0, 10, False, True),
        (11, 0, 10, False, True),
        (0.49, 1e-2, 1, True, False),
        (0.8, 1e-2, 1, True, True),
        (0.0125, 1e-2, 1, True, True),
        (0.0127, 1e-2, 1, True, False),
        (0.0, 1e-2, 1, True, True),
        (1, 1, 10, False, True),
        (2, 1, 10, False, False),
    ],
)
def test_the_outer_twentieth_of_a_range_asks_for_a_wider_one(value, low, high, by_logarithm, near):
    assert is_near_an_end(value, low, high, by_logarithm=by_logarithm) == near


class TestGain:
    def test_it_is_the_paired_interval_of_scipy(self):
        before, after = [0.31, 0.22, 0.4, 0.28], [0.2, 0.2, 0.31, 0.3]
        found = gain(dict(enumerate(before)), dict(enumerate(after)))
        interval = stats.ttest_rel(before, after).confidence_interval()
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.mean > 0

    def test_a_seed_in_which_either_has_failed_is_left_out(self):
        found = gain({1: 0.5, 2: None, 3: 0.75}, {1: 0.25, 2: 0.1, 3: None})
        assert (found.n, found.mean) == (1, 0.25)


class TestOptimism:
    @given(numbers, numbers)
    def test_its_interval_is_that_of_welch_as_scipy_has_it(self, before, after):
        found = optimism(before, after)
        assert found.mean == pytest.approx(mean(after) - mean(before))
        interval = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))

    def test_one_side_without_a_spread_leaves_that_of_the_other(self):
        found = optimism([0.25, 0.25], [0.5, 1.0, 1.5])
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.5 / 3**0.5)

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            ([0.25], [0.5, 0.75], MeanShift(0.375)),
            ([0.25, 0.5], [0.5], MeanShift(0.125)),
            ([None], [0.5], MeanShift(None)),
            ([0.5], [], MeanShift(None)),
            ([0.25, None], [0.5, float("nan")], MeanShift(0.25)),
            ([0.25, 0.25], [0.5, 0.5], MeanShift(0.25, 0.25, 0.25)),
        ],
    )
    def test_few_values_have_no_interval_and_equal_ones_no_width(self, before, after, expected):
        assert optimism(before, after) == expected

    def test_the_least_of_many_noisy_means_is_too_good_by_as_much_as_is_known(self):
        """Where trials differ by nothing but noise, the least of k has the mean of the least of k
        normal numbers: 1.42 standard deviations below 0 for k = 8."""
        noise = np.random.default_rng(4).normal(size=(400, 9))
        shifts = [optimism([row[:8].min()], [row[8]]).mean for row in noise]
        assert np.mean(shifts) == pytest.approx(1.42, abs=0.15)


def test_the_cost_counts_failed_trials_and_says_which_were_not_counted():
    found = cost_of_tuning([300, None, 900, 0], retraining=retraining_passes(4, 50))
    assert found == TuningCost(passes=1200, uncounted=1, retrainings=2.0)


def test_weights_of_the_curve_are_those_of_the_formula():
    """Each weight by itself: one trial has 1 on the other seeds and the rest have 0."""
    n = 6
    for i in range(1, n + 1):
        others = [-1.0] * (i - 1) + [0.0] + [2.0] * (n - i)
        then = [float(value == 0) for value in others]
        for found in best_of(others, then):
            assert found.expected == pytest.approx(comb(n - i, found.k - 1) / comb(n, found.k))
