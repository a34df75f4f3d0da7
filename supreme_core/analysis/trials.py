"""Statistics of tuning: what it gained, what it cost, and how much of the gain was luck. Pure.

An objective is a number of which the least is the best. A trial without one, None, has failed, and
is worse than every number. Trials here are those of the sampler: the settings as given, trial 0,
are no point of it and are compared with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, fsum, inf, log, sqrt
from statistics import variance
from typing import Final

from scipy.special import stdtrit
from scipy.stats import rankdata

from supreme_core.analysis.statistics import (
    LEVEL,
    Estimate,
    Values,
    average,
    estimate,
    is_number,
    paired_differences,
    present,
)

PARTS: Final = 4
"""Parts of a range between which trials are compared: the fewest in which a best value in the
middle differs from both ends, and as many trials in each as possible."""

OUTER: Final = 0.05
"""Share of a range at either end, in which a best value asks for a wider range."""


@dataclass(frozen=True)
class BestOf:
    """Best of k trials.

    expected: its objective, over all sets of k of the trials; None where all k can have failed.
    all_failed: the share of these sets in which they have.
    """

    k: int
    expected: float | None
    all_failed: float


def best_of(trials: Sequence[float | None], then: Sequence[float | None] = ()) -> list[BestOf]:
    """The best of 1, 2, ... n trials, as somebody with so many may expect it.

    E_k = sum over i of v_(i) C(n - i, k - 1) / C(n, k), with the objectives v_(1) <= ... <= v_(n):
    the mean over all sets of k of the n trials, unbiased for independent trials (Tang et al. 2020,
    arXiv:2004.13705; Dodge et al. 2019 draw with replacement, which is too pessimistic). Sobol
    points are spread more evenly than independent ones, so theirs is a little optimistic. At k = n
    a single trial decides; read the curve up to n / 2.

    then: objectives of the same trials on other seeds. Then the best is found by `trials`, the
    earlier one of equals, and E_k is of what it has there: without the luck of having been chosen.
    """
    payoffs = then or trials
    by_rank = sorted(range(len(trials)), key=lambda at: (_or_worst(trials[at]), at))
    failed = sum(not is_number(value) for value in trials)
    return [
        BestOf(
            k,
            None if k <= failed else _expected([payoffs[at] for at in by_rank], k),
            comb(failed, k) / comb(len(trials), k),
        )
        for k in range(1, len(trials) + 1)
    ]


def _expected(by_rank: Sequence[float | None], k: int) -> float | None:
    """Mean over all sets of k of the value that is first in each; None where one has no value."""
    n = len(by_rank)
    firsts = by_rank[: n - k + 1]
    if not all(map(is_number, firsts)):
        return None
    sets = comb(n, k)
    return fsum(
        value * (comb(n - i, k - 1) / sets) for i, value in enumerate(present(firsts), start=1)
    )


def best_so_far(trials: Sequence[float | None]) -> list[float | None]:
    """The best of the first 1, 2, ... trials; None where these have failed.

    For trials that were proposed from those before them, whose order is no matter of chance.
    """
    found = list[float | None]()
    for place in range(1, len(trials) + 1):
        found.append(min(present(trials[:place]), default=None))
    return found


def sensitivity(settings: Sequence[object], trials: Sequence[float | None]) -> float | None:
    """Share of the objective's variance that one setting accounts for, in [0, 1].

    max(0, (H - g + 1) / (n - g)) with the statistic H of Kruskal and Wallis 1952 between g groups:
    the adjusted share of variance between them (epsilon squared, Kelley 1935), of the ranks of the
    objective, so that failed trials count as the worst and a single huge value does not decide.
    Groups are the values of a setting where there are at most four, else quarters of the trials by
    the setting, equal values together. Before it is cut at 0 it is 0 on average where the setting
    does nothing. What two settings do only together it does not see, and it is about the range that
    was searched: numbers of different ranges cannot be compared. None where n <= g, for a single
    group, and where all trials are equal.

    settings: value of the setting in each trial.
    """
    groups = _groups(settings)
    n, g = len(trials), len(set(groups))
    if n <= g or g < 2:
        return None
    ranks = rankdata([_or_worst(value) for value in trials]).tolist()
    total = _spread(ranks)
    if total == 0:
        return None
    within = fsum(
        _spread([rank for rank, each in zip(ranks, groups, strict=True) if each == group])
        for group in set(groups)
    )
    return max(0.0, 1 - (within / (n - g)) / (total / (n - 1)))


def _groups(settings: Sequence[object]) -> list[object]:
    """The group of each trial."""
    numbers = [float(value) for value in settings if isinstance(value, int | float)]
    if len(set(map(repr, settings))) <= PARTS or len(numbers) < len(settings):
        return [repr(value) for value in settings]
    places = (rankdata(numbers) - 0.5) / len(numbers)  # of equal values the middle one
    return [int(place * PARTS) for place in places]


def _spread(values: Sequence[float]) -> float:
    centre = fsum(values) / len(values)
    return fsum((value - centre) ** 2 for value in values)


def percentile(given: float | None, trials: Sequence[float | None]) -> float | None:
    """Share of trials that are worse than the settings as given, equal ones counting half.

    In [0, 1]; 1/2 is what settings drawn from the space have on average, and near 1 tuning could
    find little. None without trials.
    """
    if not trials:
        return None
    mine = _or_worst(given)
    theirs = [_or_worst(value) for value in trials]
    return fsum((mine < each) + (mine == each) / 2 for each in theirs) / len(theirs)


def is_near_an_end(value: float, low: float, high: float, *, by_logarithm: bool) -> bool:
    """Return whether a chosen value lies in the outer 5 % of its range, or beyond it, so that the
    best one may lie outside.

    by_logarithm: the range is spread so, and the share is one of its logarithm. Of whole numbers
    both ends are outer; where there are few of them chance is often enough for one.
    """
    if by_logarithm:
        if value <= 0:
            return True
        value, low, high = log(value), log(low), log(high)
    place = (value - low) / (high - low)
    return not OUTER < place < 1 - OUTER


def gain(given: Mapping[int, float | None], chosen: Mapping[int, float | None]) -> Estimate:
    """Objective of the settings as given minus that of the chosen ones, each by seed, paired.

    Above 0 tuning has helped. On tuning seeds its mean is never below, since the settings as given
    are among the candidates; only on other seeds is it a finding. A seed in which either has failed
    is left out, so n says of how many seeds it is.
    """
    return estimate(paired_differences(given, chosen))


@dataclass(frozen=True)
class MeanShift:
    """Difference of two means, with its interval; None where either has fewer than two values."""

    mean: float | None
    low: float | None = None
    high: float | None = None


def optimism(tuning: Values, final: Values) -> MeanShift:
    """Mean objective of chosen settings on final seeds minus that on the seeds that chose them.

    The least of several noisy means is too small, so it is mostly above 0; by how much is what the
    choice owed to luck. 95 % interval of Welch 1947, Biometrika 34, for seeds of two kinds, none
    paired with another. The tuning seeds have been selected by, so that their spread is too small
    and the interval a little narrow.
    """
    before, after = present(tuning), present(final)
    centres = average(before), average(after)
    if centres[0] is None or centres[1] is None:
        return MeanShift(None)
    mean = centres[1] - centres[0]
    if min(len(before), len(after)) < 2:
        return MeanShift(mean)
    parts = [(variance(x) / len(x), len(x) - 1) for x in (before, after)]
    squared = fsum(part for part, _ in parts)
    if squared == 0:
        return MeanShift(mean, mean, mean)
    degrees = squared**2 / fsum(part**2 / n for part, n in parts)
    half = float(stdtrit(degrees, (1 + LEVEL) / 2)) * sqrt(squared)
    return MeanShift(mean, mean - half, mean + half)


@dataclass(frozen=True)
class TuningCost:
    """Cost of all trials, failed ones too. A forward pass of one sample is one, and a backward pass
    two.

    passes: of the trials by which they were counted.  uncounted: trials that have none.
    retrainings: passes over those of retraining once.
    """

    passes: int
    uncounted: int
    retrainings: float


def cost_of_tuning(passes: Iterable[int | None], *, retraining: float) -> TuningCost:
    """Cost of tuning a method, in passes of samples and in retrainings.

    passes: of each trial in each tuning seed.  retraining: those of retraining once.
    """
    found = [*passes]
    counted = [each for each in found if each is not None]
    total = sum(counted)
    return TuningCost(total, len(found) - len(counted), total / retraining)


@dataclass(frozen=True)
class Place:
    """Place of a model in a ranking of methods.

    rank: 1 for the best; equals share the mean of their ranks.  beats: methods that are worse.
    """

    rank: float
    beats: tuple[str, ...]


def places(
    models: Mapping[str, float | None], methods: Mapping[str, float | None]
) -> dict[str, Place]:
    """Places that models would have among tuned methods, each model by itself.

    An honest objective ranks low who has forgotten nothing, as Original, and who knows nothing, as
    an untrained network; Retrained of another seed belongs to the first. Where Original beats tuned
    methods, the objective asks for too little, or these methods do harm.
    """
    return {model: _place(_or_worst(value), methods) for model, value in models.items()}


def _place(mine: float, methods: Mapping[str, float | None]) -> Place:
    theirs = {method: _or_worst(value) for method, value in methods.items()}
    better = sum(value < mine for value in theirs.values())
    equal = sum(value == mine for value in theirs.values())
    beats = tuple(method for method, value in theirs.items() if mine < value)
    return Place(1 + better + equal / 2, beats)


def _or_worst(value: float | None) -> float:
    return value if is_number(value) else inf
