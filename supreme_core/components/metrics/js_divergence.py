"""Jensen-Shannon divergence between the predictions of the unlearned model and of Retrained."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.divergence import LN2, jensen_shannon
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="nats",
    low=0.0,
    high=LN2,
    direction="lower",
    compares=True,
    source="Lin 1991, doi:10.1109/18.61115; used by Chundawat et al. 2023, arXiv:2205.08096",
)
def js_divergence(evaluation: Evaluation, params: NoParams) -> float:
    """Mean Jensen-Shannon divergence of the softmax outputs to Retrained's.

    mean over x of (KL(p || m) + KL(p' || m)) / 2 with m = (p + p') / 2; p of the unlearned model,
    p' of Retrained. Summed over classes, not averaged over them. Nats in [0, ln 2]; 0 for equal
    predictions, ln 2 for disjoint ones. Lower is nearer, but two Retrained models differ as well:
    compare with the noise floor.
    """
    return float(
        np.mean(
            jensen_shannon(
                evaluation.unlearned.log_probabilities, evaluation.retrained.log_probabilities
            )
        )
    )
