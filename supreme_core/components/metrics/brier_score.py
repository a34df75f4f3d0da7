"""Brier score: the squared error of the probabilities."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="accuracy",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="squared probability",
    low=0.0,
    high=2.0,
    default=False,
    source="Brier 1950, Monthly Weather Review 78(1)",
)
def brier_score(evaluation: Evaluation, params: NoParams) -> float:
    """Mean squared distance of the softmax outputs to the labels.

    mean over x of sum over classes of (p_c - 1[c = y])^2: Brier's own form, summed over all
    classes, which for two classes is twice the one with a single term. In [0, 2]; 0 for certainty
    in the labels, 2 for certainty in other classes, 1 - 1/C for a uniform guess. The target is
    Retrained's value.
    """
    outputs = evaluation.unlearned
    error = np.exp(outputs.log_probabilities)
    error[np.arange(len(outputs)), outputs.labels] -= 1.0
    return float(np.mean(np.sum(np.square(error), axis=1)))
