"""Kullback-Leibler divergence from Retrained's predictions to those of the unlearned model."""

import numpy as np

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.divergence import kullback_leibler
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="distance",
    sets=("forget", "test", "forget_test", "retain_test"),
    unit="nats",
    low=0.0,
    direction="lower",
    compares=True,
    default=False,
    source="Kullback and Leibler 1951, doi:10.1214/aoms/1177729694; as used by Golatkar et al."
    " 2020, arXiv:1911.04933",
)
def kl_divergence(evaluation: Evaluation, params: NoParams) -> float:
    """Mean Kullback-Leibler divergence of the softmax outputs from Retrained's.

    mean over x of KL(p' || p) = sum over classes of p' (log p' - log p); p of the unlearned model,
    p' of Retrained, so it counts where Retrained expects a class that the model rules out. Summed
    over classes, not averaged over them. Nats, from 0 without an upper bound: a few samples of
    which the model is certain and Retrained is not can make up the whole mean, which
    `js_divergence` bounds. Lower is nearer; compare with the noise floor.
    """
    return float(
        np.mean(
            kullback_leibler(
                evaluation.retrained.log_probabilities, evaluation.unlearned.log_probabilities
            )
        )
    )
