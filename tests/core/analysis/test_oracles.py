"""Statistics against statsmodels and scikit-posthocs, which share no code with ours.

t        interval, difference, equivalence, non-inferiority   statsmodels' weightstats
Holm     adjusted p values, with ties, zeros and ones          statsmodels' multitest
shares   Wilson's interval, of halves of a success too         statsmodels' proportion
ranks    p of Friedman's ranks, pairs of methods               statsmodels' AnovaRM, posthocs
         critical difference                                   statsmodels' qsturng, posthocs
spread   components of one level and of two                    statsmodels' MixedLM
middle   interquartile mean                                    statsmodels' TrimmedMean

Inputs come from a coarse grid, so that ties, equal values and n = 2 and 3 occur among them.
Left out: equal differences, where the oracles divide by 0 and ours follows the margin
(test_hypotheses.py). scipy as an oracle: test_statistics.py, test_hypotheses.py.
"""

import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from supreme_core.analysis.comparison import Block, ranks
from supreme_core.analysis.hypotheses import difference_p, equivalence_p, holm, noninferiority
from supreme_core.analysis.statistics import (
    estimate,
    friedman,
    paired_differences,
    robust,
    variance_components,
    wilson,
)

coarse = st.integers(-40, 40).map(lambda x: x / 8)
pairs = st.lists(st.tuples(coarse, coarse), min_size=2, max_size=15)
quick = settings(max_examples=40)


@pytest.fixture(scope="module")
def oracle():
    """The oracles' modules, imported by the process that runs these tests and by no other."""
    import scikit_posthocs
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.stats import (
        anova,
        libqsturng,
        multitest,
        proportion,
        robust_compare,
        weightstats,
    )

    return SimpleNamespace(
        posthocs=scikit_posthocs,
        MixedLM=MixedLM,
        AnovaRM=anova.AnovaRM,
        qsturng=libqsturng.qsturng,
        holm=lambda p: multitest.multipletests(p, method="holm")[1],
        wilson=lambda k, n: proportion.proportion_confint(k, n, method="wilson"),
        TrimmedMean=robust_compare.TrimmedMean,
        weightstats=weightstats,
    )


def differing(of):
    """Values and reference by seed, and their differences, which are not all equal."""
    values, reference = (dict(enumerate(each)) for each in zip(*of, strict=True))
    d = paired_differences(values, reference)
    assume(len(set(d)) > 1)
    return list(values.values()), list(reference.values()), d


@quick
@given(pairs)
def test_a_gap_and_its_p_are_those_of_the_paired_t_test(oracle, of):
    _, _, d = differing(of)
    theirs = oracle.weightstats.DescrStatsW(d)
    ours = estimate(d)
    assert (ours.mean, ours.sd) == pytest.approx((theirs.mean, theirs.std_ddof(1)))
    assert (ours.low, ours.high) == pytest.approx(theirs.tconfint_mean(0.05))
    _, p, degrees = theirs.ttest_mean(0.0)
    assert degrees == len(d) - 1
    assert difference_p(d) == pytest.approx(p, abs=1e-12)


@quick
@given(pairs, st.sampled_from([0.125, 1.0, 3.0]))
def test_equivalence_is_statsmodels_paired_tost(oracle, of, margin):
    x, r, d = differing(of)
    p, *_ = oracle.weightstats.ttost_paired(np.array(x), np.array(r), -margin, margin)
    assert equivalence_p(d, margin) == pytest.approx(p, abs=1e-12)


@quick
@given(pairs, st.sampled_from([0.0, 0.125, 3.0]))
def test_noninferiority_is_the_one_sided_t_test_with_its_bound(oracle, of, margin):
    _, _, d = differing(of)
    theirs = oracle.weightstats.DescrStatsW(d)
    ours = noninferiority(d, margin)
    assert ours.p == pytest.approx(theirs.ttest_mean(-margin, "larger")[1], abs=1e-12)
    assert ours.low == pytest.approx(theirs.tconfint_mean(0.05, "larger")[0])


@pytest.mark.parametrize(
    "p",
    [
        pytest.param([0.04], id="one"),
        pytest.param([0.01, 0.04, 0.03], id="three, out of order"),
        pytest.param([0.02] * 3 + [0.01] * 2, id="ties"),
        pytest.param([0.0, 1.0, 0.0, 0.5, 1.0], id="zeros and ones"),
        pytest.param([0.011, 0.02, 0.021, 0.3, 0.31], id="made monotone"),
        pytest.param(list(np.random.default_rng(6).uniform(0, 0.1, 40)), id="forty"),
    ],
)
def test_holm_is_statsmodels(oracle, p):
    """The cases are a table, since statsmodels collects garbage in each call, which costs 50 ms."""
    assert list(holm(dict(enumerate(p))).values()) == pytest.approx(oracle.holm(p))


@quick
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, 2 * n), st.just(n))))
def test_wilson_is_statsmodels_with_ties_that_count_half(oracle, halves):
    twice, n = halves
    assert wilson(twice / 2, n) == pytest.approx(oracle.wilson(twice / 2, n), abs=1e-12)


@quick
@given(st.lists(coarse, min_size=1, max_size=9))
def test_the_interquartile_mean_is_statsmodels_trimmed_mean(oracle, x):
    assert robust(x).iqm == pytest.approx(oracle.TrimmedMean(np.array(x), 0.25).mean_trimmed)


def blocks_of(levels, *, blocks, methods, seed):
    """Distances by block and method on so many levels, which tie where these are few."""
    return np.random.default_rng(seed).integers(levels, size=(blocks, methods)) / levels


TABLES = [
    pytest.param(blocks_of(1000, blocks=6, methods=3, seed=0), id="fewest blocks, no ties"),
    pytest.param(blocks_of(3, blocks=9, methods=4, seed=1), id="many ties"),
    pytest.param(blocks_of(2, blocks=8, methods=6, seed=2), id="two levels"),
    pytest.param(np.arange(12)[:, None] + blocks_of(50, blocks=12, methods=5, seed=3), id="shift"),
]


@pytest.mark.parametrize("table", TABLES)
def test_the_p_of_friedmans_ranks_is_that_of_their_analysis_of_variance(oracle, table):
    """Iman and Davenport's F is the F of methods over blocks in a two-way analysis of ranks."""
    import pandas
    from scipy.stats import rankdata

    n, k = table.shape
    long = pandas.DataFrame(
        {
            "block": np.repeat(np.arange(n), k),
            "method": np.tile(np.arange(k), n),
            "rank": rankdata(table, axis=1).ravel(),
        }
    )
    (p,) = oracle.AnovaRM(long, "rank", "block", within=["method"]).fit().anova_table["Pr > F"]
    assert friedman(table).p == pytest.approx(p)


@pytest.mark.parametrize("table", TABLES)
def test_mean_ranks_differ_by_the_critical_difference_where_nemenyis_p_is_005(oracle, table):
    from scipy.stats import rankdata

    n, k = table.shape
    found = friedman(table)
    unit = math.sqrt(k * (k + 1) / (6 * n))
    quantile = oracle.qsturng(0.95, k, np.inf)  # an approximation to about three digits
    assert found.critical_difference == pytest.approx(quantile / math.sqrt(2) * unit, rel=2e-3)
    theirs = oracle.posthocs.posthoc_nemenyi_friedman(table).to_numpy()
    means = rankdata(table, axis=1).mean(axis=0)
    for one, other in combinations(range(k), 2):
        apart = abs(means[one] - means[other]) > found.critical_difference
        assert apart == (theirs[one, other] < 0.05)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(blocks_of(1000, blocks=9, methods=4, seed=4), id="no ties"),
        pytest.param(blocks_of(6, blocks=6, methods=3, seed=5), id="ties and zeros"),
    ],
)
def test_pairs_of_methods_are_scikit_posthocs_signed_ranks_after_holm(oracle, table):
    methods = [f"m{place}" for place in range(table.shape[1])]
    found = ranks(
        [
            Block(
                title=f"block {place}",
                distances={m: {"1": float(x)} for m, x in zip(methods, row, strict=True)},
                scores={},
            )
            for place, row in enumerate(table)
        ],
        "forget_accuracy",
    )
    plain, adjusted = (
        oracle.posthocs.posthoc_wilcoxon(table.T, p_adjust=correction)
        for correction in (None, "holm")
    )
    assert len(found.pairs) == math.comb(len(methods), 2)
    for pair in found.pairs:
        one, other = methods.index(pair.method), methods.index(pair.other)
        assert pair.signed_rank_p == pytest.approx(plain.iloc[one, other])
        assert pair.adjusted_p == pytest.approx(adjusted.iloc[one, other])


def nested(seeds, repeats, draws, *, seed=0):
    random = np.random.default_rng(seed)
    a = random.normal(0, 3.0, (seeds, 1, 1))
    b = random.normal(0, 2.0, (seeds, repeats, 1))
    return a + b + random.normal(0, 1.0, (seeds, repeats, draws))


def mixed_model(oracle, y):
    """Variances by restricted maximum likelihood: of seeds, of runs in a seed, of what is left."""
    import pandas

    _, repeats, draws = y.shape
    place = np.arange(y.size)
    data = {"y": y.ravel(), "seed": place // (repeats * draws), "run": place // draws}
    of_runs = {"run": "0 + C(run)"} if draws > 1 else None
    model = oracle.MixedLM.from_formula(
        "y ~ 1", groups="seed", re_formula="1", vc_formula=of_runs, data=pandas.DataFrame(data)
    )
    found = model.fit()
    return [float(found.cov_re.iloc[0, 0]), *map(float, found.vcomp), found.scale]


@pytest.mark.parametrize(
    ("shape", "seed"),
    [
        pytest.param((3, 2, 1), 3, id="three seeds of two runs"),
        pytest.param((8, 3, 1), 0, id="eight seeds of three runs"),
        pytest.param((6, 3, 2), 1, id="six seeds of three runs of two evaluations"),
        pytest.param((4, 4, 3), 4, id="four seeds of four runs of three evaluations"),
    ],
)
def test_components_above_0_are_those_of_a_mixed_model(oracle, shape, seed):
    """Restricted maximum likelihood equals the mean squares where numbers are equal."""
    y = nested(*shape, seed=seed)
    ours = variance_components(y.tolist())
    found = [x for x in (ours.training, ours.unlearning, ours.evaluation) if x is not None]
    assert found == pytest.approx(mixed_model(oracle, y), rel=1e-3)


def test_a_component_cut_at_0_leaves_the_others_unbiased_where_a_mixed_model_pools(oracle):
    """Ours keeps the mean square within seeds, which is unbiased whatever seeds do; likelihood
    takes a component of 0 for the truth and pools both levels."""
    y = nested(3, 4, 1, seed=0)
    ours = variance_components(y.tolist())
    within = np.mean(np.var(y[:, :, 0], axis=1, ddof=1))
    with pytest.warns(UserWarning, match="boundary"):
        of_seeds, of_runs = mixed_model(oracle, y)
    assert (ours.training, of_seeds) == (0.0, pytest.approx(0.0, abs=1e-6))
    assert ours.unlearning == pytest.approx(within)
    assert of_runs == pytest.approx(np.var(y, ddof=1), rel=1e-3)
