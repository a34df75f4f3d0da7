"""Device time of the unlearning, over all ranks."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="cost",
    unit="seconds",
    low=0.0,
    direction="lower",
    measured=True,
    references=("retrained",),
    source="measured by SUPREME",
)
def device_seconds(evaluation: Evaluation, params: NoParams) -> float | None:
    """Seconds of device time that the method took, summed over its ranks.

    GPU time on CUDA, processor time elsewhere; without evaluation. Retrained's value is that of its
    training from scratch; Original has none. Seconds, from 0; lower is cheaper. Comparable only on
    the same kind of device.
    """
    return None if evaluation.cost is None else float(evaluation.cost.device_seconds)
