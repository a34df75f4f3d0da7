"""Each sample's own gradient, whatever the model: by torch.func.vmap, or by a loop over samples.

vmap takes one pass for a chunk of samples, but not every model can be put through it. The loop
takes one pass for each sample and is what the faster ways are compared with.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.training.loss import Loss

CHUNK_ELEMENTS = 2**22
"""Most elements of the per-sample gradients of one chunk, or one sample's. It is the same on every
device: the memory of a chunk is that of its samples' activations."""

Power = Literal["squared", "absolute"]

Sums = dict[Tensor, Tensor]
"""A float64 tensor of the parameter's shape for each trainable parameter, in the model's order."""


def add_by_vmap(
    model: nn.Module, names: Sequence[str], batch: Batch, loss: Loss, power: Power, sums: Sums
) -> None:
    """Add each sample's share in these parameters, with one pass for a chunk of samples."""
    parameters = {name: model.get_parameter(name) for name in names}
    values = {name: parameter.detach() for name, parameter in parameters.items()}

    def of_one(values: dict[str, Tensor], image: Tensor, label: Tensor, number: Tensor) -> Tensor:
        def called(images: Tensor) -> Tensor:
            logits: Tensor = functional_call(model, values, (images,))
            return logits

        one = Batch(image[None], label[None], number[None])
        return loss(called, one).sum()  # type: ignore[arg-type]

    size = max(1, CHUNK_ELEMENTS // sum(value.numel() for value in values.values()))
    parts = [torch.split(part, size) for part in (batch.images, batch.labels, batch.ids)]
    # Of the ways to compute attention, vmap knows the plain one. It says of some operations that it
    # takes one sample after another, which is what everything else here would do.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        for some in zip(*parts, strict=True):
            gradients = vmap(grad(of_one), in_dims=(None, 0, 0, 0))(values, *some)
            for name, gradient in gradients.items():  # two of them may lie in the same memory
                share = for_float64(powered(gradient, power))
                sums[parameters[name]] += share.sum(dim=0, dtype=torch.float64)


def add_one_by_one(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add each sample's share to `sums`, with one pass for each; gives the mean loss."""
    losses = []
    for i in range(len(batch.ids)):
        one = Batch(batch.images[i : i + 1], batch.labels[i : i + 1], batch.ids[i : i + 1])
        value = loss(model, one).sum()
        gradients = torch.autograd.grad(value, list(sums), materialize_grads=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += powered(for_float64(gradient).to(torch.float64), power)
        losses.append(value.detach())
    return torch.stack(losses).mean()


def powered(gradient: Tensor, power: Power) -> Tensor:
    return gradient.square() if power == "squared" else gradient.abs()
