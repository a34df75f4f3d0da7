"""Methods against each other, against slow and obvious versions.

Covered: pairs (paired t, sign flips, Holm over pairs, shares), ranks per block by scipy.rankdata,
their bootstrap intervals by loops over the same draws, scores, fronts by brute force, ranges of
intervals. What lost seeds do: test_survivors.py.
"""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from supreme_core.analysis.aggregate import aggregate
from supreme_core.analysis.comparison import (
    NOT_THERE,
    Block,
    Rows,
    blocks,
    dominates,
    front,
    ranks,
)
from supreme_core.analysis.hypotheses import sign_flip_p
from supreme_core.analysis.statistics import bootstrap_level
from supreme_core.api.summary import Axis, Floor
from tests.core.analysis.summaries import FACTS, question, result, row_fact, run

METHODS = ("a", "b", "c")


def values_of(n, shifts=(0.02, 0.1, 0.3), *, sd=0.05, seed=0):
    generator = np.random.default_rng(seed)
    found = {"original": generator.normal(0.95, 0.01, n), "retrained": generator.normal(0.3, sd, n)}
    return found | {
        m: generator.normal(0.3 + s, sd, n) for m, s in zip(METHODS, shifts, strict=True)
    }


def _accuracy(value):
    return None if np.isnan(value) else float(np.clip(value, 0, 1))


def summed(values, *, scenarios=("full_class",), metrics=FACTS):
    n = len(values["retrained"])
    found = [
        result(
            seed + 1,
            [
                run(m, scenario=scenario, forget_accuracy=_accuracy(x[seed]))
                for scenario in scenarios
                for m, x in values.items()
            ],
        )
        for seed in range(n)
    ]
    return aggregate(
        found,
        question(range(1, n + 1), methods=METHODS, scenarios=scenarios, metrics=metrics),
    )


@pytest.mark.parametrize("n", [3, 6, 12])
def test_pairs_are_compared_by_the_paired_t_test_of_their_distances(n):
    values = values_of(n)
    distances = {m: np.abs(values[m] - values["retrained"]) for m in METHODS}
    found = {(each.method, each.other): each for each in summed(values).comparisons}
    pairs = list(combinations(METHODS, 2))
    assert list(found) == pairs
    p = {(a, b): stats.ttest_rel(distances[a], distances[b]).pvalue for a, b in pairs}
    largest = 0.0
    for place, pair in enumerate(sorted(pairs, key=p.get)):
        largest = max(largest, min(1.0, (3 - place) * p[pair]))
        d = distances[pair[0]] - distances[pair[1]]
        each = found[pair]
        assert (each.n, each.lack) == (n, None)
        assert each.difference_p == pytest.approx(p[pair])
        assert each.adjusted_p == pytest.approx(largest)
        assert each.flip_p == pytest.approx(sign_flip_p(d))
        assert each.mean == pytest.approx(d.mean())
        interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
        ends = (max(interval.low, -1.0), min(interval.high, 1.0))
        assert (each.low, each.high) == pytest.approx(ends)
        nearer = int((d < 0).sum())
        assert each.nearer == pytest.approx(nearer / n)
        wilson = stats.binomtest(nearer, n).proportion_ci(method="wilson")
        assert (each.nearer_low, each.nearer_high) == pytest.approx((wilson.low, wilson.high))


def test_a_method_without_a_value_has_no_pair_and_takes_none_from_the_others():
    found = summed(values_of(4) | {"a": np.full(4, np.nan)}).comparisons
    assert [(each.method, each.other) for each in found] == [("b", "c")]


def test_a_metric_that_nobody_computed_there_is_lacked_for_that_reason():
    summary = summed(values_of(3))
    of_methods = Rows(row for row in summary.rows if row.method != "retrained")
    for rows, method in ((Rows(summary.rows), "nobody"), (of_methods, "a")):
        assert rows.lack("full_class", method, "forget_accuracy") == NOT_THERE
    assert Rows(summary.rows).lack("full_class", "a", "forget_accuracy") == ""


def test_scenarios_of_one_kind_are_one_block_with_the_mean_of_their_distances():
    scenarios = ("small", "large", "other")
    values = {title: values_of(4, seed=place) for place, title in enumerate(scenarios)}
    found = [
        result(
            seed + 1,
            [
                run(m, scenario=title, forget_accuracy=float(np.clip(x[seed], 0, 1)))
                for title, of_scenario in values.items()
                for m, x in of_scenario.items()
            ],
        )
        for seed in range(4)
    ]
    rows = Rows(
        aggregate(
            found, question(range(1, 5), methods=METHODS, scenarios=scenarios, metrics=FACTS)
        ).rows
    )
    kinds = {"small": "full_class", "large": "full_class", "other": "random_samples"}
    alike, alone = blocks(rows, "forget_accuracy", kinds=kinds)
    assert (alike.title, alone.title) == ("full_class", "other")

    def distances(title, method):
        one, reference = (np.clip(values[title][m], 0, 1) for m in (method, "retrained"))
        return np.abs(one - reference)

    for method in METHODS:
        of_alike = [distances(title, method) for title in ("small", "large")]
        scores = [
            1 - np.minimum(1, d / distances(title, "original").mean())
            for title, d in zip(("small", "large"), of_alike, strict=True)
        ]
        own = distances("other", method)
        for block, d, score in (
            (alike, np.mean(of_alike, axis=0), np.mean(scores, axis=0)),
            (alone, own, 1 - np.minimum(1, own / distances("other", "original").mean())),
        ):
            assert list(block.distances[method]) == ["1", "2", "3", "4"]
            assert list(block.distances[method].values()) == pytest.approx(d.tolist())
            assert list(block.scores[method].values()) == pytest.approx(score.tolist())


def rows_with_original(at, *, margin=None, floor=None):
    """Rows in which Retrained is at 0.25 in each of four seeds, and Original somewhere else."""
    same = {"retrained": np.full(4, 0.25), "original": np.array(at)}
    same |= {method: np.full(4, 0.5) for method in METHODS}
    for row in summed(same).rows:
        if (row.method, row.metric) == ("original", "forget_accuracy"):
            noise = Floor(n=3, mean=floor, low=0.0, high=1.0, source="seeds") if floor else None
            gap = row.gap.model_copy(update={"margin": margin})
            yield row.model_copy(update={"gap": gap, "floor": noise})
        else:
            yield row


@pytest.mark.parametrize(
    ("margin", "floor", "is_told"),
    [
        *((None, None, True), (0.0625, None, True), (None, 0.0625, True), (0.0625, 0.0625, True)),
        *((0.125, None, False), (None, 0.125, False)),  # its distance itself
        *((0.25, 0.0625, False), (0.0625, 0.25, False)),
    ],
)
def test_scores_are_there_where_original_is_told_from_retrained(margin, floor, is_told):
    rows = Rows(rows_with_original([0.375] * 4, margin=margin, floor=floor))
    (block,) = blocks(rows, "forget_accuracy", kinds={"full_class": "full_class"})
    assert list(block.distances) == list(METHODS)
    assert block.scores == ({m: dict.fromkeys("1234", 0.0) for m in METHODS} if is_told else {})


def test_no_score_is_in_units_of_an_original_that_lost_a_seed():
    rows = Rows(rows_with_original([0.375, 0.375, np.nan, 0.375]))
    (block,) = blocks(rows, "forget_accuracy", kinds={"full_class": "full_class"})
    assert (list(block.distances), block.scores) == (list(METHODS), {})


def test_two_seeds_are_compared_and_not_tested():
    assert {each.adjusted_p for each in summed(values_of(2)).comparisons} == {None}


def blocks_of(tables):
    """tables: of each block, seeds by methods."""
    return [
        Block(
            title=f"block {place}",
            distances={
                m: {str(seed): float(x) for seed, x in enumerate(table[:, column])}
                for column, m in enumerate(METHODS)
            },
            scores={
                m: {str(seed): 1 - min(1.0, float(x)) for seed, x in enumerate(table[:, column])}
                for column, m in enumerate(METHODS)
            },
        )
        for place, table in enumerate(tables)
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(2, 9), st.integers(0, 10_000))
def test_mean_ranks_are_scipys_in_each_block(blocks, n, seed):
    """Distances are coarse, so they tie."""
    tables = np.random.default_rng(seed).integers(0, 4, (blocks, n, 3)) / 4
    found = ranks(blocks_of(tables), "forget_accuracy")
    wanted = np.mean([stats.rankdata(table.mean(axis=0)) for table in tables], axis=0)
    assert [rank.method for rank in found.ranks] == list(METHODS)
    assert [rank.mean for rank in found.ranks] == pytest.approx(wanted.tolist())
    assert (found.seeds, found.left_out) == (n, [])
    scores = np.sort(1 - np.minimum(1, np.concatenate(tables)), axis=0)
    cut = len(scores) // 4
    middle = scores[cut : len(scores) - cut].mean(axis=0)
    assert [rank.score for rank in found.ranks] == pytest.approx(middle.tolist())
    assert (found.friedman is None) == (blocks < 6)
    assert len(found.pairs) == (3 if blocks >= 6 else 0)
    assert all(rank.low is None and rank.high is None for rank in found.ranks)  # below 10 seeds


def test_intervals_of_ranks_and_scores_are_quantiles_over_drawn_seeds():
    """One loop over the same draws computes them, of three blocks that share the draws."""
    n = 10
    tables = np.random.default_rng(3).normal([0.3, 0.33, 0.5], 0.1, (3, n, 3)).clip(0.01, 0.99)
    found = ranks(blocks_of(tables), "forget_accuracy")
    drawn = np.random.default_rng(0).integers(n, size=(2000, n))
    level = bootstrap_level(n)
    rank_samples, score_samples = [], []
    for seeds in drawn:
        means = [table[seeds].mean(axis=0) for table in tables]
        rank_samples.append(np.mean([stats.rankdata(each) for each in means], axis=0))
        scores = np.sort(np.concatenate([1 - table[seeds] for table in tables]), axis=0)
        score_samples.append(scores[7:23].mean(axis=0))
    tail = (1 - level) / 2
    for samples, ends in (
        (rank_samples, [(rank.low, rank.high) for rank in found.ranks]),
        (score_samples, [(rank.score_low, rank.score_high) for rank in found.ranks]),
    ):
        wanted = np.quantile(np.array(samples), [tail, 1 - tail], axis=0).T
        assert np.allclose(np.array(ends), wanted)


def test_ranks_over_six_blocks_are_friedmans_and_wilcoxons():
    tables = np.random.default_rng(5).normal([0.2, 0.3, 0.5], 0.1, (7, 4, 3))
    found = ranks(blocks_of(tables), "forget_accuracy")
    means = tables.mean(axis=1)
    assert found.friedman.chi_square == pytest.approx(stats.friedmanchisquare(*means.T).statistic)
    p = {
        (METHODS[i], METHODS[j]): stats.wilcoxon(means[:, i] - means[:, j]).pvalue
        for i, j in combinations(range(3), 2)
    }
    assert {(x.method, x.other): x.signed_rank_p for x in found.pairs} == pytest.approx(p)
    largest = 0.0
    adjusted = {(x.method, x.other): x.adjusted_p for x in found.pairs}
    for place, pair in enumerate(sorted(p, key=p.get)):
        largest = max(largest, min(1.0, (3 - place) * p[pair]))
        assert adjusted[pair] == pytest.approx(largest)


def test_a_method_that_one_block_lacks_is_left_out_and_takes_no_seed():
    whole, lacking = blocks_of(np.random.default_rng(1).random((2, 5, 3)))
    lacking = Block(
        title=lacking.title,
        distances={m: d for m, d in lacking.distances.items() if m != "b"},
        scores={},
        lacks={"b": "2 of 5 seeds gave no value (2 failed)"},
    )
    found = ranks([whole, lacking], "forget_accuracy")
    assert [rank.method for rank in found.ranks] == ["a", "c"]
    (left,) = found.left_out
    assert (left.method, left.reason) == ("b", "2 of 5 seeds gave no value (2 failed)")
    assert found.seeds == 5


def test_one_method_has_no_rank_and_two_of_which_one_is_left_out_have_none_either():
    (block,) = blocks_of(np.random.default_rng(1).random((1, 5, 3)))
    alone = replace(block, distances={"a": block.distances["a"]}, scores={})
    assert ranks([alone], "forget_accuracy") is None
    found = ranks([replace(alone, lacks={"b": "long" * 1000})], "forget_accuracy")
    assert (found.ranks, found.pairs, found.friedman, found.seeds) == ([], [], None, 0)
    (left,) = found.left_out
    assert left.reason == "long" * 256


def test_a_long_reason_to_be_left_out_of_a_front_is_cut():
    axes = [Axis(role="test", metric=f"metric {number}") for number in range(40)]
    left = front(Rows(summed(values_of(3)).rows), "full_class", axes, {}).left_out
    assert [each.method for each in left] == list(METHODS)
    assert [len(each.reason) for each in left] == [1024] * 3
    assert left[0].reason.startswith(f"metric 0: {NOT_THERE}; metric 1: ")


@pytest.mark.parametrize(("n", "is_enough"), [(4, False), (5, True)])
def test_fewer_than_five_seeds_dominate_nothing(n, is_enough):
    near, far = ({str(seed): at + seed / 1e3 for seed in range(n)} for at in (0.1, 0.5))
    far["0"] += 0.001  # else the difference has no spread
    assert dominates([near], [far]) == is_enough


@given(st.data(), st.integers(5, 7))
def test_dominance_is_no_worse_mean_anywhere_and_one_better_beyond_its_interval(data, n):
    axes = st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=2, max_size=2)
    one, other = data.draw(axes), data.draw(axes)

    def distances(lists):
        return [{str(seed): x / 4 for seed, x in enumerate(values)} for values in lists]

    gaps = [np.subtract(a, b) / 4 for a, b in zip(one, other, strict=True)]
    worse = any(gap.mean() > 1e-15 for gap in gaps)
    better = False
    for gap in gaps:
        half = stats.t.ppf(0.975, n - 1) * gap.std(ddof=1) / math.sqrt(n)
        better |= gap.mean() + half < -1e-12
    assert dominates(distances(one), distances(other)) == (better and not worse)


def test_the_front_is_whoever_nobody_dominates():
    values = values_of(8, shifts=(0.0, 0.2, 0.4), sd=0.01)
    found = [
        result(
            seed + 1,
            [
                run(
                    m,
                    forget_accuracy=float(np.clip(x[seed], 0, 1)),
                    wall_seconds={"a": 3.0, "b": 2.0, "c": 9.0}.get(m) if m != "original" else None,
                )
                for m, x in values.items()
            ],
        )
        for seed in range(8)
    ]
    facts = {name: FACTS[name] for name in ("forget_accuracy", "wall_seconds")}
    (front,) = aggregate(found, question(range(1, 9), methods=METHODS, metrics=facts)).pareto
    assert {p.method: p.dominated_by for p in front.points} == {"a": [], "b": [], "c": ["a", "b"]}


@pytest.mark.parametrize(("likeness", "told"), [(0.5, True), (0.96, False)])
def test_scores_of_a_likeness_are_told_from_what_the_floor_lacks_to_1(likeness, told):
    """Two Retrained models agree in 95 %; Original is nearer than that, or further away."""
    facts = {
        "completeness": row_fact("completeness", compares=True, direction="higher", margin=None)
    }
    values = {"original": likeness, "retrained": 1.0, "a": 0.8, "b": 0.6}
    found = [
        result(seed, [run(m, completeness=value) for m, value in values.items()])
        for seed in range(3)
    ]
    floor = Floor(n=2, mean=0.95, low=0.94, high=0.96, source="seeds")
    asked = question(
        range(3),
        methods=("a", "b"),
        metrics=facts,
        primary="completeness",
        floors={("full_class", "completeness"): floor},
    )
    scores = [rank.score for rank in aggregate(found, asked).ranks.ranks]
    assert scores == ([pytest.approx(0.6), pytest.approx(0.2)] if told else [None, None])


def test_equal_differences_of_shares_of_few_samples_are_no_proof():
    """A standard deviation is at least the resolution of a share of 146 samples, as of a gap."""
    share = {name: fact.model_copy(update={"share": True}) for name, fact in FACTS.items()}
    values = {"original": [0.9] * 3, "retrained": [0.0] * 3}
    values |= {m: [k / 146] * 3 for k, m in enumerate(METHODS)}
    pairs = summed(values, metrics=share).comparisons
    expected = 2 * stats.t.sf(math.sqrt(12) * math.sqrt(3), 2)  # 1 / 146 over 1 / (146 sqrt(12))
    assert [pairs[0].difference_p, pairs[2].difference_p] == [pytest.approx(expected)] * 2
    assert [each.difference_p for each in summed(values).comparisons] == [0.0] * 3


def test_nobody_is_dominated_by_less_than_a_share_resolves():
    one, other = ({str(seed): x for seed in range(5)} for x in (0.0, 0.001))
    assert dominates([one], [other])
    assert not dominates([one], [other], [0.01])


def test_no_interval_of_a_distance_leaves_what_a_distance_can_be():
    """Ten points with a spread of sixty: a log scale would end beyond a hundred."""
    values = {"original": [1.0] * 5, "retrained": [0.0] * 5}
    values |= {"a": [0.001, 0.002, 0.0, 0.495, 0.002], "b": [0.3] * 5, "c": [1.0] * 5}
    found = [
        result(
            seed + 1,
            [
                run(m, forget_accuracy=x[seed], wall_seconds=None if m == "original" else 1.0)
                for m, x in values.items()
            ],
        )
        for seed in range(5)
    ]
    facts = {name: FACTS[name] for name in ("forget_accuracy", "wall_seconds")}
    (front,) = aggregate(found, question(range(1, 6), methods=METHODS, metrics=facts)).pareto
    for point in front.points:
        distance = point.distances[0]
        assert 0.0 <= distance.low <= distance.mean <= distance.high <= 1.0
