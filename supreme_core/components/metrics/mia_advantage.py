"""Membership advantage: how much better than guessing the best threshold is."""

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
    source="Yeom et al. 2018, arXiv:1709.01604",
)
def mia_advantage(evaluation: Evaluation, params: SignalParams) -> float | None:
    """Largest true less false positive rate of the attacks that put a threshold on a signal.

    max over t of P(signal >= t | forgotten) - P(signal >= t | held out); the held-out are test
    samples of the same classes, weighted to the class shares of the forget set. In [0, 1]; 0 is no
    attack at all. The threshold is chosen on the samples that are counted, so few samples give a
    value above 0 without any leak: the target is Retrained's value, on the same samples. An attack
    finds over-forgotten samples with the opposite sign, see `mia_ks`. None where no held-out sample
    has a class of the forget set.
    """
    scores = signal_contest(evaluation, params.signal)
    if scores is None:
        return None
    false, true = operating_points(scores)
    return float(np.max(true - false))
