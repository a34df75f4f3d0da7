"""Loss: the mean negative log-likelihood of the labels."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="accuracy",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="nats",
    low=0.0,
    source="the usual definition",
)
def loss(evaluation: Evaluation, params: NoParams) -> float:
    """Mean cross-entropy of the softmax with the labels.

    mean over x of -log p_y(x), over all samples of the set at once and never a mean of batch means.
    Nats, from 0 without an upper bound; ln C for a model that knows nothing of C classes. The
    target is Retrained's value: a larger loss on the forget set is a trace of forgetting, no merit.
    """
    return float(np.mean(evaluation.unlearned.loss))
