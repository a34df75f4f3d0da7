"""Relearn samples: relearn time in samples, which does not depend on the size of a batch."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import RelearningSettings


@metric(
    group="recovery",
    unit="samples",
    low=0.0,
    probe="relearning",
    default=False,
    source="Golatkar et al. 2020, arXiv:1911.04933",
)
def relearn_samples(evaluation: Evaluation, params: RelearningSettings) -> float:
    """Samples that were trained on until the forget set is known about as well as to Original.

    The sum of the sizes of the batches that `relearn_time` counts, a sample each time it comes.
    From 0; the target is Retrained's value. The samples of maxSteps steps say that it was not
    reached before.
    """
    return evaluation.probe("samples")
