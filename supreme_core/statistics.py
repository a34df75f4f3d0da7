"""From one number for each training seed to honest intervals, tests and verdicts. Pure functions.

A value of None, NaN or infinity counts as no value. Nothing here returns NaN: what is not defined
for so few values is None. Means and deviations are exact rational sums rounded once, so the order
of the seeds does not matter and equal values have a deviation of exactly 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import fsum, isfinite, sqrt
from statistics import mean, median, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.95

FEWEST_FOR_A_VERDICT = 5
"""Below this many seeds a t interval says little, and no sign-flip test comes near to 0.05."""

EXACT_SIGN_FLIPS = 30
RANDOM_SIGN_FLIPS = 100_000

Verdict = Literal["equivalent", "different", "inconclusive"]
FloatArray = NDArray[np.float64]

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


def paired_differences(
    values: Mapping[int, float | None], reference: Mapping[int, float | None]
) -> list[float]:
    """d_i = x_i - r_i over the seeds i that have both.

    Pairing removes what method and reference share: the seed's data order, initial weights and
    forget set. Their `estimate` is the interval of the paired t test (Fisher 1925, Statistical
    Methods, §24.1).
    """
    both = ((value, reference.get(seed)) for seed, value in values.items())
    return present(None if x is None or r is None else x - r for x, r in both)


def sign_flip_p(differences: Values) -> float | None:
    """p of the two-sided exact sign-flip test that differences are symmetric around 0.

    The share of all 2^n ways to flip signs with |Σ ± d_i| ≥ |Σ d_i| (Fisher 1935, The Design of
    Experiments, §21). The smallest p is 2 / 2^n: 0.0625 for five seeds, 0.03125 for six. None
    without a difference. Sums are compared up to their rounding.

    All ways are counted without making them: each is one of the flips of one half of the d_i and
    one of the other half, so sorted sums of the halves tell how many pairs stay below. Above
    `EXACT_SIGN_FLIPS` differences the same share of as many random flips, from a fixed seed.
    """
    given = present(differences)
    if not given:
        return None
    largest = max(map(abs, given))
    if largest == 0:
        return 1.0
    d = np.sort(np.abs(given)) / largest  # whose sums cannot overflow
    observed = abs(fsum(each / largest for each in given)) - 1e-12 * fsum(d)
    if observed <= 0:
        return 1.0
    if len(d) > EXACT_SIGN_FLIPS:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (RANDOM_SIGN_FLIPS, len(d)))
        extreme = int((np.abs(signs @ d) >= observed).sum())
        return (extreme + 1) / (RANDOM_SIGN_FLIPS + 1)
    one, other = _flipped(d[::2]), np.sort(_flipped(d[1::2]))
    below = np.searchsorted(other, observed - one, side="left")  # one + other < observed
    not_above = np.searchsorted(other, -observed - one, side="right")  # one + other <= -observed
    return float(1 - (below - not_above).sum() / (len(one) * len(other)))


def _flipped(d: FloatArray) -> FloatArray:
    """Σ ± d_i for all 2^n choices of the signs."""
    sums = np.zeros(1)
    for each in d:
        sums = np.concatenate([sums - each, sums + each])
    return sums


def fewest_for_a_difference(methods: int, *, level: float = LEVEL) -> int:
    """Seeds from which on sign flips can call a gap different that Holm adjusts over so many."""
    return next(n for n in count(1) if methods * 2 / 2**n < 1 - level)


def equivalence_p(differences: Values, margin: float) -> float | None:
    """p of two one-sided t tests that the mean difference lies within (-margin, margin).

    Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680: the larger of the two p values, which
    is below 0.05 where the 90 % t interval is inside. None below two differences.
    """
    d = estimate(differences)
    if d.mean is None or d.sd is None:
        return None
    if d.sd == 0:
        return 0.0 if abs(d.mean) < margin else 1.0
    error = d.sd / sqrt(d.n)
    return float(max(stdtr(d.n - 1, (side * d.mean - margin) / error) for side in (1, -1)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values, by which all rejections at a level hold together with that level.

    Holm 1979, Scand. J. Stat. 6, 65-70: the k-th smallest of m times (m - k + 1), made monotone
    and cut at 1.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def verdict(
    n: int, *, difference_p: float | None, equivalence_p: float | None, level: float = LEVEL
) -> Verdict:
    """What n seeds show, from the adjusted p of a difference and the p of equivalence.

    Where both hold, the difference is real and yet within the margin, which is what was asked. That
    neither holds means that there are too few seeds to tell, and never that there is no difference.
    Without a margin nothing can be called equivalent.
    """
    if n < FEWEST_FOR_A_VERDICT:
        return "inconclusive"
    if equivalence_p is not None and equivalence_p < 1 - level:
        return "equivalent"
    if difference_p is not None and difference_p < 1 - level:
        return "different"
    return "inconclusive"


def joint_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Over several metrics of one method: equivalent only where all are, different where one is.

    Equivalence of all is an intersection-union test, which needs no correction (Berger 1982,
    Technometrics 24, 295-300).
    """
    found = set(verdicts)
    if "different" in found:
        return "different"
    return "equivalent" if found == {"equivalent"} else "inconclusive"


def root_mean_square(values: Values) -> float | None:
    """√(Σ d² / n): the deviation of differences whose mean is 0 by symmetry; None without any."""
    d = present(values)
    return sqrt(mean(each * each for each in d)) if d else None


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
