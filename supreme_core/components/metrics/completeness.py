"""Completeness: how often the unlearned model and Retrained say the same class."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    direction="higher",
    compares=True,
    source="Cao and Yang 2015, doi:10.1109/SP.2015.35",
)
def completeness(evaluation: Evaluation, params: NoParams) -> float:
    """Share of samples for which the model predicts the same class as Retrained.

    mean over x of 1[argmax z(x) = argmax z'(x)], right or wrong. Fraction in [0, 1]; a likeness, so
    it is 1 for Retrained itself and higher is nearer. Two Retrained models do not agree everywhere:
    compare with the noise floor.
    """
    return float(np.mean(evaluation.unlearned.predicted == evaluation.retrained.predicted))
