"""U-LiRA: a likelihood ratio of Gaussians for each sample, over models of many seeds."""

import numpy as np
from pydantic import Field

from supreme_core.registry import seed_metric
from supreme_core.scoring.ensemble import AttackParams, EnsemblePair, Moments, told_apart
from supreme_core.scoring.evaluation import Floats


class UliraParams(AttackParams):
    strength: float = Field(
        4.0,
        ge=0,
        le=1000,
        description="Weight of the variance of a typical sample in that of each, in models.",
    )


@seed_metric(
    unit="fraction",
    best="null",
    fewest=3,
    numbers=("accuracy", "auc", "tpr"),
    sets=("forget",),
    low=0.0,
    high=1.0,
    source="Hayes et al. 2024, arXiv:2403.01218; Carlini et al. 2022, arXiv:2112.03570",
)
def ulira(pair: EnsemblePair, params: UliraParams) -> dict[str, float | None]:
    """Power of a Gaussian likelihood ratio to tell unlearned models from Retrained ones.

    For each forgotten sample a Gaussian of its logit confidence φ over the unlearned models and one
    over the Retrained ones, both without the model that is judged; the ratio of the densities says
    which sort it is of. accuracy: with the threshold 1.  auc: over all thresholds.  tpr: unlearned
    models that are found where one in a hundred of Retrained is taken for one. Fractions in [0, 1];
    1/2 of accuracy and auc is guessing, and tells that nothing of the sample can be told.

    Each variance is drawn towards that of the other samples, because few models give a poor one.
    """

    def log_density(phi: Floats, of: Moments) -> Floats:
        variance = of.variance(strength=params.strength)
        return -0.5 * (np.log(variance) + np.square(phi - of.mean) / variance)

    return told_apart(pair, log_density, false_positive_rate=params.false_positive_rate)
