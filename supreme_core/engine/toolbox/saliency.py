"""Masks of the weights that are worth most by some measure, such as the forget set's pull."""

import torch
from torch import Tensor

from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.gradient_sums import gradient_sums
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.observer import Frozen


def frozen_but_for_salient(task: UnlearningTask, fraction: float) -> Frozen:
    """All weights but the most salient ones keep the values that they have now.

    A weight's saliency is |Σ over the forget set of ∂CE/∂θ_i|, in eval mode (Fan et al. 2024).
    """
    weights = trainable(task.model)
    saliencies = [total.abs() for total in gradient_sums(task, task.forget, cross_entropy)]
    return Frozen(
        weights,
        values=[weight.detach().clone() for weight in weights],
        masks=[~mask.to(task.device) for mask in largest(saliencies, fraction)],
    )


def largest(values: list[Tensor], fraction: float) -> list[Tensor]:
    """Masks of the largest values of all tensors together; of equal ones the first."""
    flat = torch.cat([each.flatten() for each in values])
    order = flat.argsort(descending=True, stable=True)
    mask = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    mask[order[: round(fraction * len(flat))]] = True
    parts = torch.split(mask, [each.numel() for each in values])
    return [part.view(each.shape) for part, each in zip(parts, values, strict=True)]
