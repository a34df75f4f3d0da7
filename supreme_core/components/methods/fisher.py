"""Fisher forgetting: noise on the weights, the more the less the retain set needs them."""

import torch
from pydantic import Field
from torch import Tensor, nn

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.toolbox.importance import importance_sums
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import Loss
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params, method

LARGEST = 1e3
LARGEST_OF_HEAD = 1e2
"""The inverse of the information is cut off there, as in the authors' code."""

MORE_FOR_VECTORS = 10
"""The variance of the head and of vectors, such as biases, is so many times that of the others."""

FORGOTTEN_CLASS = 1e-3
"""Variance of the head's weights of a forgotten class, which begin anew around 0."""


class FisherParams(Params):
    alpha: float = Field(
        1e-6, ge=0, description="α: variance of the noise, before it is divided by the information."
    )
    retain_fraction: float = Field(
        1, gt=0, le=1, description="Part of the retain set that is used, drawn once at random."
    )


@method(
    version=2,
    paper="arXiv:1911.04933",
    needs=("retain",),
    iterative=False,
    trains=False,
    search={"alpha": {"log": [1e-10, 1e-4]}},
    search_source="values that authors and users report, from 1e-9 to 3e-6",
)
def fisher(task: UnlearningTask, params: FisherParams) -> None:
    """Add noise of variance α / F_i to weights, F the Fisher information (Golatkar et al. 2020).

    F_i = mean over retained samples of Σ_y p_y (∂ log p_y / ∂θ_i)², p the model's own answer, which
    takes a pass for every class. Limits, factors, the mean of the variance over a kernel's or a
    matrix's inputs, and the new weights of forgotten classes are those of the authors' code, which
    takes for the head whatever has as many rows as there are classes. α is the one with which its
    notebook adds this noise; 3e-6 there is the default of a function to which every caller gives
    another, and it compares 1e-8 to 1e-5. The authors of SCRUB, arXiv:2302.09880, add noise with
    1e-6 in their small experiments and with 1e-7 in their large ones.
    """
    weights = dict(task.model.named_parameters())
    head = set(task.layer_groups()[-1].parameters)
    information = _information(task, params.retain_fraction)
    with torch.no_grad():
        for name, values in information.items():
            weight, in_head = weights[name], name in head
            variance = params.alpha * (1 / (values + 1e-8)).clamp(
                max=LARGEST_OF_HEAD if in_head else LARGEST
            )
            if values.ndim > 1:
                variance = variance.mean(dim=1, keepdim=True).expand_as(values).clone()
            if in_head or values.ndim == 1:
                variance *= MORE_FOR_VECTORS
            if in_head and len(values) == task.shape.classes:
                forgotten = list(task.forget_classes)
                weight[forgotten] = 0
                variance[forgotten] = FORGOTTEN_CLASS
            noise = torch.randn(weight.shape, generator=task.generator("noise", name))
            weight.add_((variance.sqrt() * noise.to(variance.device)).to(weight))


def _information(task: UnlearningTask, retain_fraction: float) -> dict[str, Tensor]:
    """F of each trainable parameter, by name, float64."""
    order = permutation(streams.derive(task.seed, "retain subset"), len(task.retain))
    kept = order[: max(1, int(retain_fraction * len(task.retain)))]
    samples = task.retain.take(torch.from_numpy(kept))
    names = [name for name, each in task.model.named_parameters() if each.requires_grad]
    totals: list[Tensor] = []
    for label in range(task.shape.classes):
        found = importance_sums(
            task.model,
            samples,
            loss=answering(label),
            power="squared",
            reduction=task.reduction,
            report=task.report,
        )
        totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
    return {name: total / len(samples) for name, total in zip(names, totals, strict=True)}


def answering(label: int) -> Loss:
    """-√p log p of a class, √p as a constant: its squared gradient is p (∂ log p / ∂θ)²."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        log_probability: Tensor = model(batch.images).log_softmax(dim=1)[:, label]
        return -(log_probability.detach() / 2).exp() * log_probability

    return loss
