"""MSG: begin anew where the two sets pull alike, then repair."""

import torch
from pydantic import Field
from torch import nn

from supreme_core.engine.networks.convolutions import convolutions
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.gradient_sums import gradient_sums
from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import method


class MsgParams(RetainParams):
    epochs: int = Field(5, ge=0, description="Passes over the retain set.")
    lr: float = Field(1e-3, gt=0, description="Largest learning rate of SGD.")
    fraction: float = Field(
        0.3, ge=0, le=1, description="Part of each convolution's weights that begins anew."
    )
    kept_gradient: float = Field(
        0.1, ge=0, description="Factor of the gradients of a convolution's other weights."
    )


@method(
    paper="arXiv:2410.01276",
    needs=("retain", "convolutions"),
    search={
        "fraction": {"uniform": [0.05, 0.9]},
        "lr": {"log": [1e-4, 1e-1]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=(
        f"within the ranges of Cadet et al. 2024 (arXiv:2410.01276); {RATES_FOR_TRANSFORMERS}"
    ),
)
def msg(task: UnlearningTask, params: MsgParams) -> None:
    """Reinitialise the convolutions' weights of least gradient, then train on the retain set.

    The second entry of the NeurIPS 2023 competition in machine unlearning ("masked small
    gradients"), as Cadet et al. 2024 describe it. The gradient is Σ ∂CE/∂θ over as many retained
    samples, drawn at random, as there are forgotten ones, less that over the forget set, in eval
    mode. New weights are He's, by the fan out. The rate rises by equal steps from epoch to epoch up
    to the middle one, then falls. Where epochs are even in number, their code reaches the whole
    rate before the middle; here no epoch has it.
    """
    layers = list(convolutions(task.model).values())
    renewed = [
        (layer.weight, smallest(gradient.abs(), params.fraction).to(layer.weight.device))
        for layer, gradient in zip(layers, _differences(task, layers), strict=True)
    ]
    with torch.no_grad():
        for place, (weight, mask) in enumerate(renewed):
            fresh = torch.empty(weight.shape)
            nn.init.kaiming_normal_(
                fresh, mode="fan_out", generator=task.generator("weights", place)
            )
            weight.copy_(torch.where(mask, fresh.to(weight.device), weight))

    def rate(epoch: float) -> float:
        number, middle = int(epoch) + 1, (params.epochs + 1) / 2
        return min(number, params.epochs + 1 - number) / middle

    @torch.no_grad()
    def slow_down(epoch: float) -> None:
        for weight, mask in renewed:
            assert weight.grad is not None
            weight.grad *= torch.where(mask, 1.0, params.kept_gradient)

    train_on_retain(task, params, rate=rate, before_step=slow_down)


def _differences(task: UnlearningTask, layers: list[nn.Conv2d]) -> list[torch.Tensor]:
    """Gradient of each layer's weight on retained samples less that on forgotten ones."""
    order = permutation(streams.derive(task.seed, "retain subset"), len(task.retain))
    some = task.retain.take(torch.from_numpy(order[: len(task.forget)]))
    of_retain = gradient_sums(task, some, cross_entropy)
    of_forget = gradient_sums(task, task.forget, cross_entropy)
    pairs = zip(of_retain, of_forget, strict=True)
    found = {
        id(parameter): of_r - of_f
        for parameter, (of_r, of_f) in zip(trainable(task.model), pairs, strict=True)
    }
    return [found[id(layer.weight)] for layer in layers]


def smallest(values: torch.Tensor, fraction: float) -> torch.Tensor:
    """A mask of the smallest values; of equal ones the first."""
    order = values.flatten().argsort(stable=True)
    mask = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    mask[order[: round(fraction * values.numel())]] = True
    return mask.view(values.shape)
