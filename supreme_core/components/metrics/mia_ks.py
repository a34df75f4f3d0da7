"""Kolmogorov-Smirnov statistic between forgotten and unseen samples."""

import numpy as np

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.membership import SignalParams, operating_points, signal_contest


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    default=False,
    source="Kolmogorov 1933; Smirnov 1948, doi:10.1214/aoms/1177730256",
)
def mia_ks(evaluation: Evaluation, params: SignalParams) -> float | None:
    """Largest distance between the distributions of a signal on forgotten and on unseen samples.

    sup over t of |F(t) - G(t)|, with the distribution functions F on the forget set and G on test
    samples of the same classes, weighted to the class shares of the forget set. That of the
    confidence, the default, is that of the losses. It is the `mia_advantage` of an attack that may
    choose the sign, so it sees remembering and over-forgetting alike. In [0, 1]; 0 for equal
    distributions, but above it by chance where samples are few, which is why no p value is given:
    the target is Retrained's value, on the same samples. None where no held-out sample has a class
    of the forget set.
    """
    scores = signal_contest(evaluation, params.signal)
    if scores is None:
        return None
    false, true = operating_points(scores)
    return float(np.max(np.abs(true - false)))
