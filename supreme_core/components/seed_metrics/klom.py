"""KLoM: is what models say of a sample distributed as what retrained models say of it?"""

from typing import Literal

import numpy as np
from pydantic import Field
from scipy.special import xlogy

from supreme_core.registry import Params, seed_metric
from supreme_core.scoring.ensemble import EnsemblePair, Moments
from supreme_core.scoring.evaluation import Floats

LARGEST = 100.0
FLOOR = 1e-5


class KlomParams(Params):
    estimate: Literal["gaussian", "histogram"] = Field(
        "gaussian",
        description="Estimate of the distribution of logit confidences: gaussian for few seeds,"
        " or the histogram as published, for a hundred.",
    )
    bins: int = Field(20, ge=2, le=1000, description="Bins of the histogram.")
    strength: float = Field(
        4.0,
        ge=0,
        le=1000,
        description="Weight of the variance of a typical sample in that of each, in models;"
        " gaussian only.",
    )


@seed_metric(
    unit="nats",
    best="lowest",
    fewest=2,
    numbers=("mean", "p95"),
    sets=("forget", "retain", "test"),
    low=0.0,
    source="Georgiev et al. 2024, arXiv:2410.23232",
)
def klom(pair: EnsemblePair, params: KlomParams) -> dict[str, float | None]:
    """KL divergence of each sample's logit confidence over seeds, unlearned from Retrained.

    KL(unlearned | Retrained) of log(p_y / (1 - p_y)), the margins of the paper, cut at ±100, for
    each sample of a set;
    its mean over the samples and its 95th percentile, because a method that spoils few samples
    hides in a mean. In nats from 0, which is perfect; what chance alone gives is the null.

    gaussian: log(σ_r / σ_u) + (σ_u² + (μ_u - μ_r)²) / (2 σ_r²) - 1/2 with variances that lean on
    those of the other samples. histogram: Σ p log(p / max(q, 1e-5)) over equal bins between the
    smallest and the largest value of a sample; of few seeds it says little but how few they are.
    """
    unlearned, retrained = (np.clip(phi, -LARGEST, LARGEST) for phi in pair.logit_confidence)
    if params.estimate == "gaussian":
        divergence = gaussian_divergence(unlearned, retrained, strength=params.strength)
    else:
        divergence = histogram_divergence(unlearned, retrained, bins=params.bins)
    return {"mean": float(divergence.mean()), "p95": float(np.quantile(divergence, 0.95))}


def gaussian_divergence(p: Floats, q: Floats, *, strength: float) -> Floats:
    """(samples,) from φ of (models, samples)."""
    of_p, of_q = Moments.of(p), Moments.of(q)
    variance_p, variance_q = of_p.variance(strength=strength), of_q.variance(strength=strength)
    divergence = (
        np.log(variance_q / variance_p)
        + (variance_p + np.square(of_p.mean - of_q.mean)) / variance_q
        - 1
    ) / 2
    return np.asarray(np.maximum(divergence[0], 0.0))  # only rounding is cut off


def histogram_divergence(p: Floats, q: Floats, *, bins: int) -> Floats:
    """(samples,) from φ of (models, samples)."""
    low = np.minimum(p.min(axis=0), q.min(axis=0))
    width = np.maximum(p.max(axis=0), q.max(axis=0)) - low
    shares = [_shares(phi, low, width, bins) for phi in (p, q)]
    crossed = shares[0] * np.log(np.maximum(shares[1], FLOOR))
    return np.asarray((xlogy(shares[0], shares[0]) - crossed).sum(axis=1))


def _shares(phi: Floats, low: Floats, width: Floats, bins: int) -> Floats:
    """(samples, bins): share of the models in each bin."""
    samples = phi.shape[1]
    place = np.divide(phi - low, width, out=np.zeros_like(phi), where=width > 0)
    cell = np.minimum((place * bins).astype(np.int64), bins - 1) + bins * np.arange(samples)
    counts = np.bincount(cell.ravel(), minlength=samples * bins)
    return np.asarray(counts.reshape(samples, bins) / len(phi))
