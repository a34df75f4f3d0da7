"""Relearn time: how many steps bring back what was forgotten."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import RelearningSettings


@metric(
    group="recovery",
    unit="steps",
    low=0.0,
    probe="relearning",
    default=False,
    source="Golatkar et al. 2020, arXiv:1911.04933",
)
def relearn_time(evaluation: Evaluation, params: RelearningSettings) -> float:
    """Steps of training on the forget set until it is known about as well as to Original.

    The first step, of those that are looked at, after which the accuracy on the forget set is at
    least (1 - tolerance) times Original's; a copy is trained. A number from 0, which is what
    Original has, to maxSteps. The value maxSteps says no more than that it was not reached before:
    choose more steps where Retrained has it. The target is Retrained's value: fewer steps show what
    is left of the forget set, many more that the model was damaged.
    """
    return evaluation.probe("steps")
