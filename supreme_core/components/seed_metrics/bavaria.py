"""BaVarIA: U-LiRA for few models, by a prior over the mean and the variance of each sample."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.special import gammaln

from supreme_core.registry import seed_metric
from supreme_core.scoring.ensemble import (
    SMALLEST_DEVIATION,
    AttackParams,
    EnsemblePair,
    Moments,
    told_apart,
)
from supreme_core.scoring.evaluation import Floats

LARGEST_SHAPE = 1e6
"""Largest shape of a fitted prior: as good as one variance for all samples."""

Prior = tuple[Floats, Floats, Floats, Floats]
"""μ_0, κ_0, α_0, β_0 of each line, (lines, 1)."""


class BavariaParams(AttackParams):
    prior: Literal["published", "fitted"] = Field(
        "published",
        description="published: the weight of one model, κ_0 = 1 and α_0 = 2, with the mean and the"
        " variance of all logit confidences; fitted: all four by the moments over the samples.",
    )


@seed_metric(
    version=2,
    unit="fraction",
    best="null",
    fewest=3,
    numbers=("accuracy", "auc", "tpr"),
    sets=("forget",),
    low=0.0,
    high=1.0,
    source="Brännvall 2026, arXiv:2603.11799 (BaVarIA-t)",
)
def bavaria(pair: EnsemblePair, params: BavariaParams) -> dict[str, float | None]:
    """Power of Student-t predictions to tell unlearned models from Retrained ones.

    As `ulira`, with a normal-inverse-gamma prior for mean and variance of φ of a sample, the same
    for all samples of the set. What the other models predict is then a Student t, whose
    tails are as heavy as they are few. accuracy, auc and tpr are fractions in [0, 1], and 1/2 of
    the first two is guessing.

    The prior is the one of the author's code: κ_0 = 1, α_0 = 2, the mean of all φ, and their
    variance for E σ² = β_0 / (α_0 - 1). That variance is also the one between samples, so a sample
    seems less certain than it is; `fitted` takes the two apart, which the paper does not. It is
    taken once for each model that is left out, so that it never knows the model that is judged
    either; the paper judges models that are not among those it fits.
    """
    prior = fitted_prior if params.prior == "fitted" else published_prior
    return told_apart(
        pair,
        partial(log_density, prior=prior),
        false_positive_rate=params.false_positive_rate,
    )


def log_density(phi: Floats, of: Moments, *, prior: Callable[[Moments], Prior]) -> Floats:
    """Log density of the t with 2 α_n degrees, centre μ_n and scale² β_n (κ_n + 1) / (α_n κ_n)."""
    centre, weight, shape, scale = prior(of)
    n = of.models
    weight_n, shape_n = weight + n, shape + n / 2
    centre_n = (weight * centre + n * of.mean) / weight_n
    pulled = weight * n * np.square(of.mean - centre) / weight_n
    scale_n = scale + (of.squares + pulled) / 2
    degrees = 2 * shape_n
    variance = scale_n * (weight_n + 1) / (shape_n * weight_n)
    away = np.square(phi - centre_n) / (degrees * variance)
    return np.asarray(
        gammaln((degrees + 1) / 2)
        - gammaln(degrees / 2)
        - 0.5 * np.log(np.pi * degrees * variance)
        - (degrees + 1) / 2 * np.log1p(away)
    )


def published_prior(of: Moments) -> Prior:
    """The mean and the variance of all φ of a line, whatever their sample."""
    one = np.ones((len(of.mean), 1))
    within = of.squares.mean(axis=1, keepdims=True) / of.models
    variance = within + of.mean.var(axis=1, keepdims=True)
    shape = 2 * one
    return (
        of.mean.mean(axis=1, keepdims=True),
        one,
        shape,
        (shape - 1) * np.maximum(variance, SMALLEST_DEVIATION**2),
    )


def fitted_prior(of: Moments) -> Prior:
    """The parameters that have the moments over the samples.

    With σ² inverse-gamma and Gaussian φ, sample variances have E s² = β_0 / (α_0 - 1) and
    E s⁴ = (1 + 2 / (n - 1)) (α_0 - 1) / (α_0 - 2) (E s²)², and sample means have the variance
    E σ² (1 / κ_0 + 1 / n).
    """
    n = of.models
    variances = of.squares / (n - 1)
    typical = np.maximum(variances.mean(axis=1, keepdims=True), SMALLEST_DEVIATION**2)
    fourth = np.square(variances).mean(axis=1, keepdims=True) / (1 + 2 / (n - 1))
    excess = np.maximum(fourth / np.square(typical) - 1, 1 / LARGEST_SHAPE)
    shape = 2 + 1 / excess
    spread = of.mean.var(axis=1, keepdims=True) / typical
    return (
        of.mean.mean(axis=1, keepdims=True),
        1 / np.maximum(spread - 1 / n, 1 / LARGEST_SHAPE),
        shape,
        (shape - 1) * typical,
    )
