"""Layer-wise distance: how far the parameters lie from Retrained's."""

import math

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    unit="parameter",
    low=0.0,
    direction="lower",
    compares=True,
    source="Tarun et al. 2023, arXiv:2111.08947",
)
def layer_distance(evaluation: Evaluation, params: NoParams) -> float | None:
    """L2 distance of all parameters to Retrained's.

    sqrt(sum over tensors l of ||w_l - w'_l||_2^2): parameters without buffers, in units of the
    parameters, from 0 without an upper bound. Lower is nearer, with care: networks whose units are
    permuted compute the same and lie far apart, so it says something only where both started from
    the same weights. None where no weights were compared.
    """
    if not evaluation.distances:
        return None
    return math.hypot(*(layer.distance for layer in evaluation.distances.values()))
