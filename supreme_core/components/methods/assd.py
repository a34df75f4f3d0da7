"""Adaptive selective synaptic dampening: SSD that finds its threshold in the importances."""

from math import log
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from supreme_core.engine.toolbox.dampening import dampen
from supreme_core.engine.toolbox.importance import importances_of_parts, mean_importances
from supreme_core.engine.toolbox.importance_kinds import SQUARED_LOSS
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import Params, method


class AssdParams(Params):
    LATER: ClassVar = ("compared_with",)

    compared_with: Literal["all", "retain"] = Field(
        "all",
        description="Set whose importances divide those of the forget set: all training samples,"
        " or the retain set, as in the authors' code.",
    )


@method(
    paper="arXiv:2402.10098",
    needs=("retain",),
    iterative=False,
    trains=False,
    importances="squared_loss",
)
def assd(task: UnlearningTask, params: AssdParams) -> None:
    """SSD with α from the importances and the sizes of the sets (Schoepf et al. 2024).

    α is the percentile 100 - ln(1 + 100 |F| / |D|) of I_F / I_D over all weights that matter at
    all, and λ is 1. Importances are those of `ssd`, each sample's own. The authors' code, a
    notebook for tables of numbers, says that it computes I_D and is given the retain set, which is
    `comparedWith: retain` here: a weight that matters to forgotten samples alone becomes 0. It
    squares the gradients of batches, and leaves the network in the mode in which it finds it.
    """
    importances = mean_importances if params.compared_with == "all" else importances_of_parts
    forget, others = importances(task, SQUARED_LOSS)
    share = len(task.forget) / (len(task.forget) + len(task.retain))
    ratios = torch.cat([(of_f / of_o)[of_o > 0] for of_f, of_o in zip(forget, others, strict=True)])
    alpha = percentile(ratios, 100 - log(1 + 100 * share))
    dampen(task.model, forget, others, alpha=alpha, lambda_=1)


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
