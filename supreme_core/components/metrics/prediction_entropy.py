"""Prediction entropy: how undecided the model is."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="accuracy",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="nats",
    low=0.0,
    default=False,
    source="Shannon 1948, doi:10.1002/j.1538-7305.1948.tb01338.x",
)
def prediction_entropy(evaluation: Evaluation, params: NoParams) -> float:
    """Mean entropy of the softmax outputs, whatever the labels are.

    mean over x of -sum over classes of p log p. Nats, from 0 (certain) to ln C (undecided between
    C classes). The target is Retrained's value: a model that guesses on the forget set gives the
    forgotten samples away, just as one that is still sure of them.
    """
    return float(np.mean(evaluation.unlearned.entropy))
