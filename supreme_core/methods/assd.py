"""Adaptive selective synaptic dampening: SSD that finds its threshold in the importances."""

from math import log

import torch
from torch import Tensor

from supreme_core.engine.importance import dampen, mean_importances
from supreme_core.engine.loss import cross_entropy
from supreme_core.engine.task import UnlearningTask
from supreme_core.registry import NoParams, method


@method(paper="arXiv:2402.10098", needs=("retain",), iterative=False)
def assd(task: UnlearningTask, params: NoParams) -> None:
    """SSD with α from the importances and the sizes of the sets (Schoepf et al. 2024).

    α is the percentile 100 - ln(1 + 100 |F| / |D|) of I_F / I_D over all weights that matter at
    all, and λ is 1. Importances are those of `ssd`, each sample's own.
    """
    forget, everything = mean_importances(task, loss=cross_entropy, power="squared")
    share = len(task.forget) / (len(task.forget) + len(task.retain))
    ratios = torch.cat(
        [(of_f / of_d)[of_d > 0] for of_f, of_d in zip(forget, everything, strict=True)]
    )
    alpha = percentile(ratios, 100 - log(1 + 100 * share))
    dampen(task.model, forget, everything, alpha=alpha, lambda_=1)


def percentile(values: Tensor, q: float) -> float:
    """The value below which q % lie, between two of them by a straight line; inf of nothing.

    Exact for any number of values; torch.quantile takes 16 million of them in older versions.
    """
    if not len(values):
        return float("inf")
    ordered = values.sort().values
    place = q / 100 * (len(values) - 1)
    below = int(place)
    low, high = ordered[below : below + 2][[0, -1]].tolist()
    return float(low + (high - low) * (place - below))
