"""The score of the NeurIPS 2023 competition, with a bound where models are few."""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import betaincinv

from supreme_core.registry import Params, seed_metric
from supreme_core.scoring.ensemble import EnsemblePair
from supreme_core.scoring.evaluation import Floats, Integers

BIN = 0.5
LAST_BIN = 13


class ForgettingQualityParams(Params):
    epsilon: Literal["bound", "plug_in"] = Field(
        "bound",
        description="bound: what is at least so, from Clopper and Pearson's limits of both error"
        " rates; plug_in: their shares themselves, as published for 512 models.",
    )
    delta: float = Field(1e-5, ge=0, lt=1, description="δ of (ε, δ)-unlearning.")
    level: float = Field(
        0.95, gt=0, lt=1, description="Confidence of the bound, of both error rates together."
    )


@seed_metric(
    version=2,
    unit="score",
    best="highest",
    fewest=8,
    numbers=("", "with_utility"),
    low=0.0,
    source="Triantafillou et al. 2024, arXiv:2406.09073; limits: Clopper and Pearson 1934,"
    " Biometrika 26",
)
def forgetting_quality(
    pair: EnsemblePair, params: ForgettingQualityParams
) -> dict[str, float | None]:
    """Mean over forgotten samples of 2 / 2^k, where k counts halves of the ε that attacks find.

    Of each sample the largest ε = log((1 - δ - FPR) / FNR), or with both rates exchanged, over all
    attacks that call a model unlearned where its logit confidence lies in an interval, or outside
    of it: one or two thresholds between values that occurred. k is 1 for ε below 0.5, and at most
    13, also where a sample tells all models; so 1 is perfect and 0.0002 the least.
    with_utility: times the accuracy on retain and on test, each over that of Retrained.

    Shares of few models find large ε in pure chance, so both rates stand at their upper limits.
    Such an ε is no more than n models can prove: of 8 against 8 at most 0.53, and of 5 always 0.
    The limits hold for one attack and not for the best of all, for which the null speaks.

    δ, bins of 0.5 and their halving are those of the organisers' code. There bins of n models end
    at ε = log(n - 1), rounded up to a whole number, and nothing is scored above, which is a
    difference of at most 2 / 2^13. It tries fewer attacks: thresholds of a grid of 0.01, and the
    side that is called unlearned is the one that medians or ranges speak for. A range below a
    hundredth of the other's is ε = 50 there.
    """
    unlearned, retrained = (
        ensemble.logit_confidence["forget"] for ensemble in (pair.unlearned, pair.retrained)
    )
    table = _table(params, len(unlearned), len(retrained))
    quality = float(np.mean(score(largest_epsilon(unlearned, retrained, table))))
    utility = 1.0
    for name in ("retain", "test"):
        there = float(pair.retrained.accuracy[name].mean())
        if not there > 0:
            return {"": quality, "with_utility": None}
        utility *= float(pair.unlearned.accuracy[name].mean()) / there
    return {"": quality, "with_utility": quality * utility}


def score(epsilon: Floats) -> Floats:
    """2 / 2^k for ε in the k-th half."""
    halves = np.minimum(np.floor(np.minimum(epsilon, LAST_BIN) / BIN) + 1, LAST_BIN)
    return np.asarray(2.0 / 2.0**halves)


def largest_epsilon(unlearned: Floats, retrained: Floats, table: Floats) -> Floats:
    """(samples,) from φ of (models, samples).

    table: the larger ε of an interval and its complement, by the unlearned and the Retrained models
    that lie in it. Equal φ lie on the same side of every threshold.
    """
    both = np.concatenate([unlearned, retrained]).T
    order = np.argsort(both, axis=1, kind="stable")
    ranked = np.take_along_axis(both, order, axis=1)
    mine = order < len(unlearned)
    ends = np.ones_like(mine)
    ends[:, :-1] = ranked[:, 1:] > ranked[:, :-1]
    u, r = _counts_below(mine, ends), _counts_below(~mine, ends)
    # Places in the flat table: that of a difference is the difference of the places.
    places = np.ascontiguousarray((u * table.shape[1] + r).T)
    largest = np.zeros(len(both))
    for start in range(both.shape[1]):
        inside = table.ravel().take(places[start + 1 :] - places[start])
        largest = np.maximum(largest, inside.max(axis=0))
    return largest


def _counts_below(which: NDArray[np.bool_], ends: NDArray[np.bool_]) -> Integers:
    """(samples, thresholds + 1): how many lie below; a threshold amid ties repeats the last one."""
    counts = np.where(ends, np.cumsum(which, axis=1), 0)
    start = np.zeros((len(which), 1), dtype=counts.dtype)
    return np.maximum.accumulate(np.concatenate([start, counts], axis=1), axis=1)


@lru_cache(maxsize=8)
def _table(params: ForgettingQualityParams, unlearned: int, retrained: int) -> Floats:
    u, r = np.arange(unlearned + 1)[:, None], np.arange(retrained + 1)[None, :]
    inside = epsilon_of(r, unlearned - u, of=(retrained, unlearned), params=params)
    outside = epsilon_of(retrained - r, u, of=(retrained, unlearned), params=params)
    return np.maximum(inside, outside)


def epsilon_of(
    false_positives: Integers,
    false_negatives: Integers,
    *,
    of: tuple[int, int],
    params: ForgettingQualityParams,
) -> Floats:
    """ε of attacks by their errors among so many Retrained and so many unlearned models.

    Plugged in, no error of either kind gives ∞, and an attack with no error of just one kind says
    nothing: the organisers take it for a want of models. Limits are never 0.
    """
    positive, negative = np.broadcast_arrays(
        _rate(false_positives, of[0], params), _rate(false_negatives, of[1], params)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        either = [
            np.where(
                (a > 0) & (b > 0) & (1 - params.delta - a > 0),
                np.log((1 - params.delta - a) / b),
                0.0,
            )
            for a, b in ((positive, negative), (negative, positive))
        ]
    largest = np.maximum(np.maximum(*either), 0.0)
    return np.where((positive == 0) & (negative == 0), np.inf, largest)


def _rate(errors: Integers, n: int, params: ForgettingQualityParams) -> Floats:
    if params.epsilon == "plug_in":
        return errors / n
    quantile = 1 - (1 - params.level) / 2
    limit = betaincinv(errors + 1, np.maximum(n - errors, 1), quantile)
    return np.where(errors == n, 1.0, limit)
