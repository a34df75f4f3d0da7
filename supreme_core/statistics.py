"""From one number for each training seed to a mean with an honest interval. Pure functions.

A value of None, NaN or infinity counts as no value. Nothing here returns NaN: what is not defined
for so few values is None. Means and deviations are exact rational sums rounded once, so the order
of the seeds does not matter and equal values have a deviation of exactly 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from statistics import mean, median, stdev

from scipy.special import ndtri, stdtrit

LEVEL = 0.95

Values = Iterable[float | None]


@dataclass(frozen=True)
class Estimate:
    """Mean of n values. sd, low and high are None below two values, mean is None without any."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def estimate(values: Values, *, level: float = LEVEL) -> Estimate:
    """Mean, sample standard deviation and t interval of the mean.

    x̄ ± t_{(1+level)/2, n-1} · s / √n with s² = Σ(x - x̄)² / (n - 1); "Student" 1908, Biometrika 6.
    The interval is not cut at the range of a metric: where it reaches beyond, n is small for it.
    """
    x = present(values)
    if not x:
        return Estimate(0, None, None, None, None)
    centre = mean(x)
    sd = _sample_sd(x)
    if sd is None:
        return Estimate(len(x), centre, None, None, None)
    half = t_quantile(len(x) - 1, level) * sd / sqrt(len(x))
    return Estimate(len(x), centre, sd, _finite(centre - half), _finite(centre + half))


def paired_gap(
    values: Mapping[int, float | None],
    reference: Mapping[int, float | None],
    *,
    level: float = LEVEL,
) -> Estimate:
    """Differences d_i = x_i - r_i over the seeds i that have both, as `estimate` gives them.

    Pairing removes what method and reference share: the seed's data order, initial weights and
    forget set. It is the interval of the paired t test (Fisher 1925, Statistical Methods, §24.1).
    """
    both = [
        (value, reference[seed])
        for seed, value in values.items()
        if value is not None and reference.get(seed) is not None
    ]
    return estimate((x - r for x, r in both if r is not None), level=level)


def wilson(successes: int, n: int, *, level: float = LEVEL) -> tuple[float, float] | None:
    """Score interval of a proportion; None where n is 0. Wilson 1927, JASA 22, 209-212.

    Unlike p ± z√(p(1-p)/n) it has a width where no or all trials succeeded.
    """
    if n == 0:
        return None
    assert 0 <= successes <= n
    z = float(ndtri((1 + level) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def collapse_threshold(retrained: Values) -> float | None:
    """Half the median test accuracy of Retrained over the seeds; None without any."""
    x = present(retrained)
    return median(x) / 2 if x else None


def is_collapsed(accuracy: float | None, threshold: float | None) -> bool:
    """Whether a run lost the task: test accuracy below `collapse_threshold`.

    A run without a finite accuracy has no value and is not called collapsed; it counts as failed
    or as undefined, which its record says.
    """
    if threshold is None or accuracy is None or not isfinite(accuracy):
        return False
    return accuracy < threshold


def average(values: Values) -> float | None:
    """Mean of the values that are there; None without any. For the repeats within one seed."""
    x = present(values)
    if len(x) == 1:
        return x[0]
    return mean(x) if x else None


def present(values: Values) -> list[float]:
    return [float(value) for value in values if value is not None and isfinite(value)]


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
