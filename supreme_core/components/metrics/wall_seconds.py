"""Wall-clock time of the unlearning."""

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
def wall_seconds(evaluation: Evaluation, params: NoParams) -> float | None:
    """Seconds on the clock that the method took, on its slowest rank.

    With whatever it computes beforehand (importances, noise), without evaluation. Retrained's value
    is its training from scratch; Original unlearns nothing and has none. Seconds, from 0; lower is
    cheaper. Comparable only on the same machine.
    """
    return None if evaluation.cost is None else float(evaluation.cost.wall_seconds)
