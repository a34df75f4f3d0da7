"""Membership without false alarms: what an attack finds that hardly ever accuses wrongly."""

import numpy as np
from pydantic import Field

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.membership import SignalParams, operating_points, signal_contest

FALSE_ALARMS = 10
"""Held-out samples that must be expected above the threshold, so that it is not one of chance."""

ROUNDING = 1e-12
"""Rates are sums of weights."""


class MiaTprAtFprParams(SignalParams):
    fpr: float = Field(0.01, gt=0, lt=1, description="False positive rate that is not exceeded.")


@metric(
    group="membership",
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    default=False,
    source="Carlini et al. 2022, arXiv:2112.03570",
)
def mia_tpr_at_fpr(evaluation: Evaluation, params: MiaTprAtFprParams) -> float | None:
    """Share of forgotten samples that an attack finds at a low false positive rate.

    max of P(signal >= t | forgotten) over the thresholds t with P(signal >= t | held out) <= fpr;
    the held-out are test samples of the same classes, weighted to the class shares of the forget
    set. Fraction in [0, 1]; about fpr where nothing leaks. Unlike an average over all thresholds it
    sees few samples that are remembered very well. The target is Retrained's value. None where no
    held-out sample has a class of the forget set, or where there are fewer than 10 / fpr of them.
    """
    scores = signal_contest(evaluation, params.signal)
    if scores is None or len(scores.non_members) < FALSE_ALARMS / params.fpr:
        return None
    false, true = operating_points(scores)
    return float(np.max(true[false <= params.fpr + ROUNDING]))
