"""Accuracy: the share of samples that the model gets right."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="accuracy",
    sets=("forget", "retain", "test", "forget_test", "retain_test"),
    unit="fraction",
    share=True,
    low=0.0,
    high=1.0,
    margin=0.01,
    source="the usual definition",
)
def accuracy(evaluation: Evaluation, params: NoParams) -> float:
    """Share of samples whose largest logit is that of the label.

    mean over x of 1[argmax z(x) = y], over all samples of the set at once and never a mean of batch
    means. Fraction in [0, 1]. The target is Retrained's value, on the forget set too: near the test
    accuracy where single samples are forgotten, and 0 only where whole classes are.
    """
    return evaluation.unlearned.accuracy
