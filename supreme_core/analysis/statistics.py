"""Statistics of one number for each training seed, with honest intervals. Pure functions.

A value of None, NaN, infinity or beyond LARGEST counts as no value. Nothing here returns NaN: what
is not defined for so few values is None. Means and deviations are exact rational sums rounded once,
so the order of the seeds does not matter and equal values have a deviation of exactly 0.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from math import exp, fsum, isfinite, sqrt
from statistics import mean, median, stdev
from typing import Literal, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit, ndtr, ndtri, stdtrit

LEVEL = 0.95

LARGEST = 1e75
"""No metric comes near to it; sums of fourth powers of larger values would be infinite."""

ROUNDING = 2.0**-48
"""Share of the largest of some numbers that rounding can make of their sums and differences."""

FEWEST_FOR_A_BOOTSTRAP = 10
"""Fewer seeds are too few for their own distribution to stand for that of all seeds."""

FEWEST_BLOCKS = 6
"""Below this many blocks no test over blocks comes near to 0.05."""

RESAMPLES = 2_000
"""Resamples of a bootstrap, which Efron and Tibshirani 1993, An Introduction to the Bootstrap,
§14.3, hold for enough for an interval."""

IntervalKind = Literal["t", "log", "logit"]
FloatArray = NDArray[np.float64]

Values = Iterable[float | None]
SeedKey = TypeVar("SeedKey", int, str)


@dataclass(frozen=True)
class Estimate:
    """Mean of n values. sd, low and high are None below two values, mean is None without any.

    kind: the scale on which low and high lie at equal distances from the mean.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    kind: IntervalKind = "t"


def estimate(
    values: Values,
    *,
    lowest: float | None = None,
    highest: float | None = None,
    resolution: float = 0.0,
    level: float = LEVEL,
) -> Estimate:
    """Mean, sample standard deviation and t interval of the mean.

    x̄ ± t_{(1+level)/2, n-1} · s / √n with s² = Σ(x - x̄)² / (n - 1); "Student" 1908, Biometrika 6.

    lowest, highest: the range of the values, if they have one. Where its end is within 3 s of the
    mean, values are skewed and a t interval misses the mean too often; that of two values, which is
    wider, leaves the range from further away. There the same half width is laid out on a scale that
    has the end at infinity, by the delta method: log(x - lowest), or logit where both ends are
    known (Brown, Cai and DasGupta 2001, Stat. Sci. 16, 101-133, §4.3; docs/statistics.md has what
    it gains).

    resolution: the standard deviation is at least that, where values are too coarse to vary.
    """
    x = present(values)
    if not x:
        return Estimate(0, None, None, None, None)
    centre = mean(x)
    sd = _sample_sd(x)
    if sd is None:
        return Estimate(len(x), centre, None, None, None)
    sd = max(sd, resolution)
    half = t_quantile(len(x) - 1, level) * sd / sqrt(len(x))
    if lowest is not None and _is_near_an_end(x, centre, max(3 * sd, half), lowest, highest):
        if highest is None:
            factor = exp(half / (centre - lowest))  # at most exp(t), for s / x̄ <= √n
            low, high = lowest + (centre - lowest) / factor, lowest + (centre - lowest) * factor
            return Estimate(len(x), centre, sd, low, _finite(high), "log")
        size = highest - lowest
        share = (centre - lowest) / size
        width = half / size / (share * (1 - share))
        low, high = (lowest + size * float(expit(logit(share) + w)) for w in (-width, width))
        return Estimate(len(x), centre, sd, low, high, "logit")
    return Estimate(len(x), centre, sd, _finite(centre - half), _finite(centre + half))


def clipped(found: Estimate, lowest: float | None, highest: float | None) -> Estimate:
    """Cut the ends of an interval at what the mean can be; they hold it still."""
    if found.mean is None or found.low is None or found.high is None:
        return found
    low = found.low if lowest is None else min(max(found.low, lowest), found.mean)
    high = found.high if highest is None else max(min(found.high, highest), found.mean)
    return replace(found, low=low, high=high)


def _is_near_an_end(
    x: Sequence[float], centre: float, reach: float, lowest: float, highest: float | None
) -> bool:
    """Return whether the range ends within reach of the mean, and no value lies outside of it."""
    top = float("inf") if highest is None else highest
    if min(x) < lowest or max(x) > top:
        return False
    return lowest < centre < top and (centre - reach < lowest or centre + reach > top)


@dataclass(frozen=True)
class RobustSummary:
    """low, high: interval of iqm; None below `FEWEST_FOR_A_BOOTSTRAP` values."""

    median: float
    iqm: float
    low: float | None
    high: float | None
    smallest: float
    largest: float


def robust(values: Values) -> RobustSummary | None:
    """Median, interquartile mean with its interval, and the extremes; None without a value.

    The interquartile mean is the mean of what remains without the ⌊n / 4⌋ smallest and as many
    largest (Agarwal et al. 2021, arXiv:2108.13264). Its interval is the bias-corrected and
    accelerated bootstrap (Efron 1987, JASA 82, 171-185), over seeds and with fixed random numbers.
    Small samples make bootstrap intervals too narrow, so its level is raised as `bootstrap_level`
    says.
    """
    x = np.sort(present(values))
    if not len(x):
        return None
    low, high = _bootstrap_interval(x)
    return RobustSummary(
        median=median(x.tolist()),
        iqm=float(iqm(x)),
        low=low,
        high=high,
        smallest=float(x[0]),
        largest=float(x[-1]),
    )


def iqm(x: FloatArray, axis: int = -1) -> FloatArray:
    """Interquartile mean along an axis."""
    return np.asarray(stats.trim_mean(x, 0.25, axis=axis))


def bootstrap_level(n: int) -> float:
    """The level at which a bootstrap interval of n values holds about LEVEL.

    Tails of Φ(-√(n / (n - 1)) · t_{(1+LEVEL)/2, n-1}): what a percentile interval of the mean needs
    to be as wide as the t interval (Hesterberg 2015, Am. Stat. 69, 371-386, §5.3.3).
    """
    return float(1 - 2 * ndtr(-sqrt(n / (n - 1)) * t_quantile(n - 1, LEVEL)))


def _bootstrap_interval(x: FloatArray) -> tuple[float | None, float | None]:
    """Interval of the interquartile mean. BCa is not defined where the middle of the values hardly
    varies; there the percentile interval stands."""
    if len(x) < FEWEST_FOR_A_BOOTSTRAP:
        return None, None
    methods: tuple[Literal["BCa", "percentile"], ...] = ("BCa", "percentile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined, it warns and gives NaN
        for method in methods:
            found = stats.bootstrap(
                (x,),
                iqm,
                n_resamples=RESAMPLES,
                vectorized=True,
                confidence_level=bootstrap_level(len(x)),
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
            if isfinite(found.low) and isfinite(found.high):
                break
    return _finite(float(found.low)), _finite(float(found.high))


@dataclass(frozen=True)
class VarianceComponents:
    """Variances. None is a component that the data cannot tell from the one above it."""

    training: float | None
    unlearning: float | None
    evaluation: float | None


def variance_components(values: Iterable[Iterable[Values]]) -> VarianceComponents | None:
    """Components of y_ijk = μ + a_i + b_ij + e_ijk: training seed, unlearning, evaluation.

    values: of each training seed, of each of its unlearning repeats, of each evaluation. Estimated
    from mean squares and their expectations, which for equal numbers J and K of repeats gives
    σ_e² = MS_e, σ_u² = (MS_u - MS_e) / K and σ_t² = (MS_t - MS_u) / (JK), and 0 where that is
    negative (Henderson 1953, Biometrics 9, 226-252, method 1; Searle, Casella and McCulloch 1992,
    Variance Components, for unequal numbers). None without a value.
    """
    given = [[run for run in map(present, seed) if run] for seed in values]
    seeds = [seed for seed in given if seed]
    runs = [run for seed in seeds for run in seed]
    pooled = [list(chain.from_iterable(seed)) for seed in seeds]
    everything = list(chain.from_iterable(pooled))
    if not everything:
        return None
    try:
        between_seeds = _squares(pooled, everything)
        between_runs = fsum(map(_squares, seeds, pooled))
        between_evaluations = fsum(_squares([[y] for y in run], run) for run in runs)
    except OverflowError:  # squares of numbers near the largest float
        return VarianceComponents(None, None, None)
    n, of_runs, of_seeds = len(everything), len(runs) - len(seeds), len(seeds) - 1
    shared = fsum(
        len(run) ** 2 / len(of_seed)
        for of_seed, seed in zip(pooled, seeds, strict=True)
        for run in seed
    )
    evaluation = unlearning = training = None
    if n > len(runs):
        evaluation = between_evaluations / (n - len(runs))
    noise = evaluation or 0.0
    if of_runs:
        unlearning = (between_runs / of_runs - noise) / ((n - shared) / of_runs)
    if of_seeds:
        in_seeds = (shared - sum(len(run) ** 2 for run in runs) / n) / of_seeds
        weight = (n - sum(len(seed) ** 2 for seed in pooled) / n) / of_seeds
        training = (between_seeds / of_seeds - noise - in_seeds * (unlearning or 0.0)) / weight
    return VarianceComponents(
        *(x if x is None else max(0.0, x) for x in (training, unlearning, evaluation))
    )


def _squares(parts: Iterable[Sequence[float]], whole: Sequence[float]) -> float:
    """Sum of squares between parts of a whole."""
    centre = mean(whole)
    return fsum(len(part) * (mean(part) - centre) ** 2 for part in parts)


def best_repeats(
    *, within: float, between: float, seed_cost: float, repeat_cost: float
) -> int | None:
    """Repeats in each seed that make the mean most certain for a given cost; at least 1.

    √((c_seed / c_repeat) · (σ²_within / σ²_between)), which minimises σ²_between / I + σ²_within /
    (IJ) where I · (c_seed + J · c_repeat) is given (Cochran 1977, Sampling Techniques, §10.6). None
    where seeds do not differ, or a cost is not known.
    """
    if between <= 0 or seed_cost <= 0 or repeat_cost <= 0:
        return None
    return max(1, round(sqrt(seed_cost / repeat_cost * within / between)))


def paired_differences(
    values: Mapping[SeedKey, float | None], reference: Mapping[SeedKey, float | None]
) -> list[float]:
    """d_i = x_i - r_i over the seeds i that have both.

    Pairing removes what method and reference share: the seed's data order, initial weights and
    forget set. Their `estimate` is the interval of the paired t test (Fisher 1925, Statistical
    Methods, §24.1).

    Differences that vary by rounding alone are all their mean, and 0 where that is no more than
    rounding: a t test of rounding errors would find the smallest of them beyond doubt.
    """
    both = [
        (x, r)
        for seed, x in values.items()
        if x is not None and (r := reference.get(seed)) is not None and is_number(x - r)
    ]
    d = [x - r for x, r in both]
    rounding = ROUNDING * max((abs(each) for pair in both for each in pair), default=0.0)
    if d and max(d) - min(d) <= rounding:
        centre = mean(d)
        return [centre if abs(centre) > rounding else 0.0] * len(d)
    return d


def wilson(successes: float, n: int) -> tuple[float, float] | None:
    """Score interval of a proportion; None where n is 0. Wilson 1927, JASA 22, 209-212.

    successes: not whole where a tie counts half.

    Unlike p ± z√(p(1-p)/n) it has a width where no or all trials succeeded.
    """
    if n == 0:
        return None
    assert 0 <= successes <= n
    z = float(ndtri((1 + LEVEL) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def share_below(differences: Values) -> float | None:
    """Share of differences below 0; those of 0 count half. None without any.

    The probability of improvement of paired values (Agarwal et al. 2021, arXiv:2108.13264).
    """
    d = present(differences)
    return sum(1.0 if each < 0 else 0.5 if each == 0 else 0.0 for each in d) / len(d) if d else None


@dataclass(frozen=True)
class BlockTest:
    """critical_difference: of mean ranks."""

    chi_square: float
    p: float
    critical_difference: float


def friedman(blocks: FloatArray) -> BlockTest | None:
    """Test whether the columns (methods) differ over the rows (blocks), by their ranks in each row.

    Friedman's χ² corrected for ties; p of F = (N - 1) χ² / (N (k - 1) - χ²) with k - 1 and
    (k - 1)(N - 1) degrees of freedom (Iman and Davenport 1980, Comm. Stat. A9, 571-595); the
    critical difference q √(k (k + 1) / 6N) with the studentised range q / √2 (Nemenyi 1963; all in
    Demšar 2006, JMLR 7, 1-30). None below `FEWEST_BLOCKS` blocks or three methods.
    """
    n, k = blocks.shape
    if n < FEWEST_BLOCKS or k < 3:
        return None
    critical = _studentised_range(k) / sqrt(2) * sqrt(k * (k + 1) / (6 * n))
    if (blocks == blocks[:, :1]).all():
        return BlockTest(0.0, 1.0, critical)
    chi_square = float(stats.friedmanchisquare(*blocks.T).statistic)
    rest = n * (k - 1) - chi_square
    f = (n - 1) * chi_square / rest if rest > 1e-9 else float("inf")
    return BlockTest(chi_square, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))), critical)


@lru_cache
def _studentised_range(k: int) -> float:
    return float(stats.studentized_range.ppf(LEVEL, k, np.inf))


def collapse_threshold(retrained: Values) -> float | None:
    """Half the median test accuracy of Retrained over the seeds; None without any."""
    x = present(retrained)
    return median(x) / 2 if x else None


def is_collapsed(accuracy: float | None, threshold: float | None) -> bool:
    """Return whether a run lost the task: test accuracy below `collapse_threshold`.

    A run without a finite accuracy has no value and is not called collapsed; it counts as failed
    or as undefined, which its record says.
    """
    if threshold is None or not is_number(accuracy):
        return False
    return accuracy < threshold


def average(values: Values) -> float | None:
    """Mean of the values that are there; None without any. For the repeats within one seed."""
    x = present(values)
    if len(x) == 1:
        return x[0]
    return mean(x) if x else None


def is_number(value: float | None) -> TypeGuard[float]:
    """Return whether a value is one that can be computed with."""
    return value is not None and isfinite(value) and abs(value) <= LARGEST


def present(values: Values) -> list[float]:
    return [float(value) for value in values if is_number(value)]


@lru_cache
def t_quantile(degrees: int, level: float) -> float:
    """Two-sided quantile of Student's t: the interval spans ± this many standard errors."""
    return float(stdtrit(degrees, (1 + level) / 2))


def _sample_sd(x: list[float]) -> float | None:
    if len(x) < 2:
        return None
    try:
        return _finite(stdev(x))
    except OverflowError:  # squares of numbers near the largest float
        return None


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
