"""Activation distance: how far the softmax outputs lie from Retrained's."""

from typing import Literal

import numpy as np
from pydantic import Field

from supreme_core.registry import Params, metric
from supreme_core.scoring.evaluation import Evaluation


class ActivationDistanceParams(Params):
    mean: Literal["arithmetic", "quadratic"] = Field(
        "arithmetic",
        exclude_if=lambda value: value == "arithmetic",  # so that older keys stay what they are
        description="Mean over the samples: arithmetic as published, or the root of the mean"
        " square, which is larger.",
    )


@metric(
    group="distance",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="probability",
    low=0.0,
    high=float(np.sqrt(2.0)),
    direction="lower",
    compares=True,
    source="Chundawat et al. 2023, arXiv:2205.08096",
)
def activation_distance(evaluation: Evaluation, params: ActivationDistanceParams) -> float:
    """Mean L2 distance of the softmax outputs to Retrained's.

    mean over x of ||p(x) - p'(x)||_2; p of the unlearned model, p' of Retrained. The mean of the
    distances, not the root of the mean square, unless that is asked for. In [0, sqrt 2]; 0 for
    equal predictions, sqrt 2 for certainty in different classes. Lower is nearer; compare with the
    noise floor.
    """
    unlearned = np.exp(evaluation.unlearned.log_probabilities)
    retrained = np.exp(evaluation.retrained.log_probabilities)
    distances = np.linalg.norm(unlearned - retrained, axis=1)
    if params.mean == "quadratic":
        return float(np.sqrt(np.mean(np.square(distances))))
    return float(np.mean(distances))
