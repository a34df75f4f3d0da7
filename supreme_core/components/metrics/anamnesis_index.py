"""Anamnesis index (AIN): relearn time as a share of Retrained's."""

from supreme_core.registry import metric
from supreme_core.scoring.evaluation import Evaluation
from supreme_core.scoring.probe_settings import RelearningSettings


@metric(
    group="recovery",
    unit="ratio",
    low=0.0,
    probe="relearning",
    default=False,
    source="Chundawat et al. 2023, arXiv:2201.05629",
)
def anamnesis_index(evaluation: Evaluation, params: RelearningSettings) -> float | None:
    """Relearn time of the model over that of Retrained.

    Both as `relearn_time` has them, in steps. A ratio from 0; the target is 1, which Retrained has.
    Far below, something of the forget set is left; far above, the model was damaged. Where one of
    the two stops at maxSteps it is a bound only, and says nothing where both do. None where
    Retrained knows the forget set without a step.
    """
    retrained = evaluation.probe("steps", "retrained")
    return evaluation.probe("steps") / retrained if retrained else None
