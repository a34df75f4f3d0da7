"""Tests of one row's gaps to Retrained, their adjustment, and the verdict that follows. Pure."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from statistics import mean
from typing import Literal, TypeVar

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import chdtri, ndtri, stdtr

from supreme_core.analysis.statistics import LEVEL, FloatArray, Values, estimate, is_number, present

FEWEST_FOR_A_VERDICT = 5
"""Below this many seeds nothing is called equivalent, for a deviation of so few is hardly known."""

FEWEST_FOR_A_DIFFERENCE = 3
"""Below this many seeds nothing is called different; below the other number, with few seeds."""

EXACT_SIGN_FLIPS = 30
RANDOM_SIGN_FLIPS = 100_000
FLIPS_AT_ONCE = 4096
"""Random flips that are in memory at a time: all flips of 1000 seeds would be 1.5 GB."""

Verdict = Literal["equivalent", "different", "inconclusive"]
Hypothesis = TypeVar("Hypothesis", bound=Hashable)


def sign_flip_p(differences: Values) -> float | None:
    """p of the two-sided exact sign-flip test that differences are symmetric around 0.

    The share of all 2^n ways to flip signs with |Σ ± d_i| ≥ |Σ d_i| (Fisher 1935, The Design of
    Experiments, §21). The smallest p is 2 / 2^n: 0.0625 for five seeds, 0.03125 for six. None
    without a difference. Sums are compared up to their rounding.

    All ways are counted without making them: each is one of the flips of one half of the d_i and
    one of the other half, so sorted sums of the halves tell how many pairs stay below. Above
    `EXACT_SIGN_FLIPS` differences the same share of as many random flips, from a fixed seed.
    """
    [p] = sign_flip_p_values([differences])
    return p


def sign_flip_p_values(tests: Iterable[Values]) -> list[float | None]:
    """`sign_flip_p` of each; tests of equally many differences share their random flips, which
    take most of the time where seeds are many."""
    found: list[float | None] = []
    at_random = defaultdict[int, list[tuple[int, FloatArray, float]]](list)
    for place, differences in enumerate(tests):
        given = present(differences)
        largest = max(map(abs, given), default=0.0)
        if not largest:
            found.append(1.0 if given else None)
            continue
        d = np.sort(np.abs(given)) / largest  # whose sums cannot overflow
        observed = abs(fsum(each / largest for each in given)) - 1e-12 * fsum(d)
        if observed > 0 and len(d) > EXACT_SIGN_FLIPS:
            at_random[len(d)].append((place, d, observed))
        found.append(_exact_flip_p(d, observed) if len(d) <= EXACT_SIGN_FLIPS else 1.0)
    for same in at_random.values():
        places, d_of_each, sums = zip(*same, strict=True)
        for place, p in zip(places, _random_flip_p(np.stack(d_of_each), sums), strict=True):
            found[place] = p
    return found


def _exact_flip_p(d: FloatArray, observed: float) -> float:
    if observed <= 0:
        return 1.0
    one, other = _flipped(d[::2]), np.sort(_flipped(d[1::2]))
    below = np.searchsorted(other, observed - one, side="left")  # one + other < observed
    not_above = np.searchsorted(other, -observed - one, side="right")  # one + other <= -observed
    return float(1 - (below - not_above).sum() / (len(one) * len(other)))


def _random_flip_p(d: FloatArray, observed: Sequence[float]) -> list[float]:
    """d: (tests, differences).  observed: the sum of each test."""
    generator = np.random.default_rng(0)
    extreme = np.zeros(len(d), int)
    for first in range(0, RANDOM_SIGN_FLIPS, FLIPS_AT_ONCE):
        count = min(FLIPS_AT_ONCE, RANDOM_SIGN_FLIPS - first)
        signs = generator.choice([-1.0, 1.0], (count, d.shape[1]))
        extreme += (np.abs(signs @ d.T) >= observed).sum(axis=0)
    return [(int(each) + 1) / (RANDOM_SIGN_FLIPS + 1) for each in extreme]


def _flipped(d: FloatArray) -> FloatArray:
    """Σ ± d_i for all 2^n choices of the signs."""
    sums = np.zeros(1)
    for each in d:
        sums = np.concatenate([sums - each, sums + each])
    return sums


def signed_rank_p(differences: Values) -> float | None:
    """p of the two-sided signed-rank test that differences are symmetric around 0.

    Wilcoxon 1945, Biometrics Bull. 1, 80-83: by ranks of |d_i|, of equal ones their mean, without
    those that are 0. None without a difference. Up to `EXACT_SIGN_FLIPS` of them it is the
    sign-flip test of the ranks, exact with ties too; above, as scipy chooses.
    """
    given = present(differences)
    d = np.array([each for each in given if each])
    if not d.size:
        return 1.0 if given else None
    if len(d) > EXACT_SIGN_FLIPS:
        return float(stats.wilcoxon(np.sort(d)).pvalue)
    return sign_flip_p(np.sign(d) * stats.rankdata(np.abs(d)))


def flips_can_reject(n: int, methods: int) -> bool:
    """Return whether sign flips of n seeds could find a gap after Holm over so many methods."""
    return methods * 2.0 ** (1 - n) < 1 - LEVEL


def difference_p(
    differences: Values, *, resolution: float = 0.0, margin: float | None = None
) -> float | None:
    """p of the two-sided paired t test that the mean difference is 0; None below two differences.

    "Student" 1908, Biometrika 6. resolution: the standard deviation is at least that. Without any
    spread there is no t: then 0 where the difference is beyond the margin, or is not 0 where there
    is no margin, and else 1.
    """
    d = estimate(differences, resolution=resolution)
    if d.mean is None or d.sd is None:
        return None
    error = d.sd / sqrt(d.n)
    if error == 0:
        return 0.0 if abs(d.mean) > (margin or 0.0) else 1.0
    return float(2 * stdtr(d.n - 1, -abs(d.mean) / error))


def equivalence_p(differences: Values, margin: float, *, resolution: float = 0.0) -> float | None:
    """p of two one-sided t tests that the mean difference lies within (-margin, margin).

    Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680: the larger of the two p values, which
    is below 0.05 where the 90 % t interval is inside. None below two differences. resolution: the
    standard deviation is at least that.
    """
    d = estimate(differences, resolution=resolution)
    if d.mean is None or d.sd is None:
        return None
    error = d.sd / sqrt(d.n)
    if error == 0:
        return 0.0 if abs(d.mean) < margin else 1.0
    return float(max(stdtr(d.n - 1, (side * d.mean - margin) / error) for side in (1, -1)))


@dataclass(frozen=True)
class OneSided:
    """low: lower bound of a mean.  p: that it is above what was asked."""

    low: float
    p: float


def noninferiority(
    differences: Values, margin: float, *, resolution: float = 0.0
) -> OneSided | None:
    """Lower bound of the mean difference, and p of the one-sided t test that it is above -margin.

    p is below 0.05 where the bound is above -margin (Wellek 2010, Testing Statistical Hypotheses of
    Equivalence and Noninferiority, §2.3). None below two differences.
    """
    d = estimate(differences, level=2 * LEVEL - 1, resolution=resolution)
    if d.mean is None or d.sd is None or d.low is None:
        return None
    error = d.sd / sqrt(d.n)
    if error == 0:
        return OneSided(d.low, 0.0 if d.mean > -margin else 1.0)
    return OneSided(d.low, float(stdtr(d.n - 1, -(d.mean + margin) / error)))


def holm(p_values: Mapping[Hypothesis, float]) -> dict[Hypothesis, float]:
    """Adjusted p values, by which all rejections at a level hold together with that level.

    Holm 1979, Scand. J. Stat. 6, 65-70: the k-th smallest of m times (m - k + 1), made monotone
    and cut at 1.
    """
    adjusted: dict[Hypothesis, float] = {}
    largest = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def verdict(
    n: int,
    *,
    difference_p: float | None,
    equivalence_p: float | None,
    is_complete: bool = True,
) -> Verdict:
    """Verdict of n seeds, from the adjusted p of a difference and the p of equivalence.

    Where both hold, the difference is real and yet within the margin, which is what was asked. That
    neither holds means that there are too few seeds to tell, and never that there is no difference.
    Without a margin nothing can be called equivalent; nor where seeds are lost (is_complete), for
    those that are left may be the ones in which the method did well.
    """
    can_be_equivalent = is_complete and n >= FEWEST_FOR_A_VERDICT
    if can_be_equivalent and equivalence_p is not None and equivalence_p < 1 - LEVEL:
        return "equivalent"
    if n >= FEWEST_FOR_A_DIFFERENCE and difference_p is not None and difference_p < 1 - LEVEL:
        return "different"
    return "inconclusive"


@dataclass(frozen=True)
class Joint:
    """Counts of so many rows: those that are equivalent, those that are different alone, and of
    these the ones that are different after correction over all rows and methods."""

    rows: int
    equivalent: int
    different: int
    different_jointly: int

    @property
    def verdict(self) -> Verdict:
        if self.different_jointly:
            return "different"
        return "equivalent" if 0 < self.rows == self.equivalent else "inconclusive"


def joint_verdict(rows: Iterable[tuple[Verdict, float | None]]) -> Joint:
    """Judge several rows of one method, each with its verdict and its joint p.

    Equivalent only where all are, which is an intersection-union test and needs no correction
    (Berger 1982, Technometrics 24, 295-300). Different where one is whose p, after Holm over all
    rows and methods that are judged together, is below 1 - LEVEL.
    """
    found = list(rows)
    different = [p for verdict, p in found if verdict == "different"]
    return Joint(
        rows=len(found),
        equivalent=sum(verdict == "equivalent" for verdict, _ in found),
        different=len(different),
        different_jointly=sum(p is not None and p < 1 - LEVEL for p in different),
    )


def noise_margin(groups: Iterable[Values]) -> float | None:
    """Lower bound of the standard deviation of a difference of two values of one group.

    √2 s √(df / χ²_{LEVEL, df}) with s the standard deviation pooled over the groups and df its
    degrees of freedom: the one-sided limit of a normal sample's deviation (Hald 1952, Statistical
    Theory with Engineering Applications, §11.3). The deviation itself would be too large in half of
    all experiments, and whatever is compared with it would too often be called equivalent. None
    where no group has two values, or all are the same.
    """
    squares, degrees = 0.0, 0
    for group in groups:
        values = present(group)
        centre = mean(values) if values else 0.0
        squares += fsum((value - centre) ** 2 for value in values)
        degrees += max(len(values) - 1, 0)
    if not degrees or squares == 0:
        return None
    return sqrt(2 * squares / float(chdtri(degrees, 1 - LEVEL)))


@dataclass(frozen=True)
class Separation:
    """auc: probability that a value of the one kind is larger than one of the other kind."""

    auc: float
    low: float
    high: float


def separation(
    values: Mapping[int, float | None], reference: Mapping[int, float | None]
) -> Separation | None:
    """Signed area under the curve of x_i against r_j, over all seeds i and j that differ.

    A tie counts half. Only of seeds that have both. No seed is compared with itself, as a model and
    its Retrained share initial weights, and whoever is to tell one from the other has no such pair.
    The interval is the score interval of Newcombe 2006, Stat. Med. 25, 559-573, method 5: all θ
    with |auc - θ| ≤ z √V(θ), which has a width where the kinds do not overlap. It is not folded:
    the larger of auc and 1 - auc would be about 0.66 for five seeds of one distribution. None
    below `FEWEST_FOR_A_VERDICT` seeds.
    """
    both = [
        (x, r) for seed, x in values.items() if is_number(x) and is_number(r := reference.get(seed))
    ]
    n = len(both)
    if n < FEWEST_FOR_A_VERDICT:
        return None
    x, r = np.array(both).T
    larger = np.sign(x[:, None] - r[None, :])
    np.fill_diagonal(larger, 0.0)
    auc = 0.5 + float(larger.sum()) / (2 * n * (n - 1))
    return Separation(auc, 1 - _upper(1 - auc, n), _upper(auc, n))


def _upper(auc: float, n: int) -> float:
    """Upper end of the score interval of an area under the curve of n against n values."""
    z = float(ndtri((1 + LEVEL) / 2))

    def beyond(theta: float) -> float:
        spread = 1 + (n - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - auc) ** 2 - z * z * theta * (1 - theta) / (n * n) * spread

    if auc == 1:
        return 1.0
    return float(brentq(beyond, max(auc, 1e-12), 1.0))
