"""Activation distance: how far the softmax outputs lie from Retrained's."""

import numpy as np

from supreme_core.evaluation import Evaluation
from supreme_core.registry import NoParams, metric


@metric(
    group="distance",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="probability",
    low=0.0,
    high=float(np.sqrt(2.0)),
    compares=True,
    source="Chundawat et al. 2023, arXiv:2205.08096",
)
def activation_distance(evaluation: Evaluation, params: NoParams) -> float:
    """Mean L2 distance of the softmax outputs to Retrained's.

    mean over x of ||p(x) - p'(x)||_2; p of the unlearned model, p' of Retrained. The mean of the
    distances, not the root of the mean square, which is larger. In [0, sqrt 2]; 0 for equal
    predictions, sqrt 2 for certainty in different classes. Lower is nearer; compare with the noise
    floor.
    """
    unlearned = np.exp(evaluation.unlearned.log_probabilities)
    retrained = np.exp(evaluation.retrained.log_probabilities)
    return float(np.mean(np.linalg.norm(unlearned - retrained, axis=1)))
