"""Membership by all signals at once: a logistic regression, judged on a hold-out."""

import numpy as np

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation, Floats, Outputs
from supreme_core.scoring.fitted_membership import HoldOutParams, Judged, held_out_judgements
from supreme_core.scoring.membership import SIGNALS, Contest, auc


@metric(
    group="membership",
    unit="fraction",
    low=0.0,
    high=1.0,
    margin=0.02,
    random=True,
    default=False,
    source="Song and Mittal 2021, arXiv:2003.10595, for the signals; area: Hanley and McNeil 1982,"
    " doi:10.1148/radiology.143.1.7063747",
)
def mia_logistic(evaluation: Evaluation, params: HoldOutParams) -> float | None:
    """Area under the ROC curve of a logistic regression on five signals, on samples held out.

    The signals are logit confidence, entropy, modified entropy, lead over the next class and
    correctness, standardised. Members are the forget set; non-members are test samples of the
    same classes, weighted to the class shares of the forget set. The area is that of each fold of a
    repeated stratified k-fold, for the attack fitted on the other folds, averaged over all folds.
    Where a side has fewer samples than folds there are as many folds as samples.

    In [0, 1]; 1/2 is no leak, and an attack that learnt noise is as often below it as above. The
    target is Retrained's value. None where no held-out sample has a class of the forget set, or
    where a side has a single sample.
    """
    judged = held_out_judgements(evaluation, _all_signals, params, address="mia_logistic")
    return None if judged is None else float(np.mean([_area(fold) for fold in judged]))


def _all_signals(outputs: Outputs) -> Floats:
    return np.stack([signal(outputs) for signal in SIGNALS.values()], axis=1)


def _area(fold: Judged) -> float:
    members, others = fold.is_member, ~fold.is_member
    return auc(Contest(fold.decision[members], fold.decision[others], fold.weights[others]))
