"""Membership by entropy: the usual attack of the field, with a hold-out and matched classes."""

import numpy as np

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.fitted_membership import HoldOutParams, held_out_judgements


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    random=True,
    source="the attack of Chundawat et al. 2023, arXiv:2205.08096, and Foster et al. 2024,"
    " arXiv:2308.07707; members, non-members and hold-out corrected",
)
def mia_entropy(evaluation: Evaluation, params: HoldOutParams) -> float | None:
    """Share of forgotten samples that an attack on the softmax entropy calls members.

    The attack is a logistic regression on the entropy H(p(x)), standardised, with members and
    non-members of equal total weight. Members are the forget set; non-members are test samples of
    the same classes, weighted to the class shares of the forget set. Every sample is judged by an
    attack that was fitted without it (repeated stratified k-fold). Where a side has fewer samples
    than folds there are as many folds as samples.

    Fraction in [0, 1]. The target is Retrained's value and not 0: an attack that can tell nothing
    calls about half of the samples members, and often far more or fewer, as it may cut a skewed
    distribution anywhere. False alarms do not count against it; `mia_loss_auc` has no such freedom.
    Exactly 1/2 where all entropies are equal up to rounding. None where no held-out sample has a
    class of the forget set, or where a side has a single sample.
    """
    judged = held_out_judgements(
        evaluation, lambda outputs: outputs.entropy, params, address="mia_entropy"
    )
    if judged is None:
        return None
    called = np.concatenate([fold.verdict[fold.is_member] for fold in judged])
    return float(np.mean(called))
