"""BaVarIA: U-LiRA for few models, by a prior over the mean and the variance of each sample."""

import numpy as np
from scipy.special import gammaln

from supreme_core.ensemble import SMALLEST_DEVIATION, AttackParams, Comparison, Moments, told_apart
from supreme_core.evaluation import Floats
from supreme_core.registry import seed_metric

LARGEST_SHAPE = 1e6
"""Of the prior: as good as one variance for all samples."""


@seed_metric(
    unit="fraction",
    best="null",
    fewest=3,
    numbers=("accuracy", "auc", "tpr"),
    sets=("forget",),
    low=0.0,
    high=1.0,
    source="Brännvall 2026, arXiv:2603.11799 (BaVarIA-t)",
)
def bavaria(comparison: Comparison, params: AttackParams) -> dict[str, float | None]:
    """How well Student-t predictions tell unlearned models from Retrained ones.

    As `ulira`, with a normal-inverse-gamma prior for mean and variance of the margins of a sample,
    the same for all samples of the set. What the other models predict is then a Student t, whose
    tails are as heavy as they are few. accuracy, auc and tpr are fractions in [0, 1], and 1/2 of
    the first two is guessing.

    The prior is that of the moments over the samples (`prior`), once for each model that is left
    out, so that it never knows the model that is judged either.
    """
    return told_apart(comparison, log_density, false_positive_rate=params.false_positive_rate)


def log_density(margins: Floats, of: Moments) -> Floats:
    """Of the t with 2 α_n degrees, centre μ_n and scale² β_n (κ_n + 1) / (α_n κ_n)."""
    centre, weight, shape, scale = prior(of)
    n = of.models
    weight_n, shape_n = weight + n, shape + n / 2
    centre_n = (weight * centre + n * of.mean) / weight_n
    pulled = weight * n * np.square(of.mean - centre) / weight_n
    scale_n = scale + (of.squares + pulled) / 2
    degrees = 2 * shape_n
    variance = scale_n * (weight_n + 1) / (shape_n * weight_n)
    away = np.square(margins - centre_n) / (degrees * variance)
    return np.asarray(
        gammaln((degrees + 1) / 2)
        - gammaln(degrees / 2)
        - 0.5 * np.log(np.pi * degrees * variance)
        - (degrees + 1) / 2 * np.log1p(away)
    )


def prior(of: Moments) -> tuple[Floats, Floats, Floats, Floats]:
    """μ_0, κ_0, α_0, β_0 of each line, (lines, 1), which have the moments over the samples.

    With σ² inverse-gamma and Gaussian margins, sample variances have E s² = β_0 / (α_0 - 1) and
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
