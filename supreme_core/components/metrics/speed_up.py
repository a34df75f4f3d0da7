"""Speed-up: how many times faster than retraining."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="cost",
    unit="ratio",
    low=0.0,
    direction="higher",
    measured=True,
    references=("retrained",),
    source="run-time efficiency of Cadet et al. 2024, arXiv:2410.01276",
)
def speed_up(evaluation: Evaluation, params: NoParams) -> float | None:
    """Wall time of retraining over the wall time of the method, for the same seed.

    t(Retrained) / t(method), both as `wall_seconds`. A ratio, from 0; higher is cheaper, below 1
    retraining would have been faster. 1 for Retrained itself; Original has none. None where a time
    was not measured or is 0.
    """
    if evaluation.cost is None or evaluation.retrained_cost is None:
        return None
    if evaluation.cost.wall_seconds == 0:
        return None
    return evaluation.retrained_cost.wall_seconds / evaluation.cost.wall_seconds
