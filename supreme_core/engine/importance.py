"""How much each weight matters to a loss: sums over samples of powers of its gradient, exact.

Plain autograd gives the gradient of a sum of samples; here each sample's own is needed. One forward
pass and one backward pass through the activations give it for a whole batch: what went into a
layer and the gradient of what came out make up the gradient of its weights, sample by sample.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from supreme_core.engine.fit import Loss, Report
from supreme_core.engine.modes import in_mode
from supreme_core.engine.reduction import Leaf, Reduction
from supreme_core.engine.samples import Batch, Samples
from supreme_core.engine.task import UnlearningTask
from supreme_core.errors import MethodFailed
from supreme_core.registry import Params

BATCH_SIZE = 64
"""Fixed, so that the grid of batches and with it every bit is the same on any number of ranks."""

CHUNK_ELEMENTS = 2**22
"""So many elements of a layer's per-sample gradients are alive at once (16 MiB), or one sample's.
More is slower on a CPU: each chunk's memory is then fresh from the system."""

TRIAL_SIZE = 3
"""Samples on which both ways are compared before the fast one is trusted with a model."""

Power = Literal["squared", "absolute"]

Sums = dict[Tensor, Tensor]
"""A float64 tensor of the parameter's shape for each trainable parameter, in the model's order."""

Rule = Callable[[Any, Tensor, Tensor, Power], Iterator[tuple[Tensor, Tensor]]]
"""(layer, its input, gradient of its output, power) to the sums of its parameters."""


def mean_importances(
    task: UnlearningTask, *, loss: Loss, power: Power
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean importances over the forget set, and over the whole training set.

    Each sample is passed once: the sum over the training set is that of its two parts.
    """
    forget, retain = (
        importance_sums(
            task.model,
            samples,
            loss=loss,
            power=power,
            reduction=task.reduction,
            report=task.report,
        )
        for samples in (task.forget, task.retain)
    )
    count = len(task.forget) + len(task.retain)
    everything = [(of_f + of_r) / count for of_f, of_r in zip(forget, retain, strict=True)]
    return [total / len(task.forget) for total in forget], everything


class DampeningParams(Params):
    """Which weights are dampened, and how far; shared by the methods that dampen."""

    alpha: float = Field(
        10,
        gt=0,
        description="α: a weight is dampened where its importance for the forget set is above α"
        " times its importance for the whole training set; none can be from |D| / |F| on.",
    )
    lambda_: float = Field(
        1,
        ge=0,
        alias="lambda",
        description="λ: a dampened weight is multiplied by λ times the inverse ratio of the"
        " importances, at most by 1.",
    )


@torch.no_grad()
def dampen(
    model: nn.Module,
    forget: list[Tensor],
    everything: list[Tensor],
    *,
    alpha: float,
    lambda_: float,
) -> None:
    """Where I_F > α I_D: θ ← min(1, λ I_D / I_F) θ. Other weights and all buffers keep their bits.

    forget, everything: I_F and I_D of each trainable parameter. A selected weight has I_F > 0, so
    no 0 / 0 is ever taken.
    """
    for parameter, of_f, of_d in zip(_trainable(model), forget, everything, strict=True):
        selected = of_f > alpha * of_d
        ratio = lambda_ * of_d / torch.where(selected, of_f, 1)
        factor = torch.where(selected, ratio.clamp(max=1), 1)
        parameter.mul_(factor.to(parameter.dtype))


def importance_sums(
    model: nn.Module,
    samples: Samples,
    *,
    loss: Loss,
    power: Power,
    reduction: Reduction,
    report: Report,
) -> list[Tensor]:
    """Σ over samples of g² or |g|, g the gradient of one sample's loss in eval mode.

    One float64 tensor for each trainable parameter, the same bits on every rank. The model is left
    as it was. Batches of a fixed size are spread over the micro-batches of the reduction.

    Raises MethodFailed where a sum is not finite.
    """
    grid = torch.split(torch.arange(len(samples)), BATCH_SIZE)
    lanes = [lane.tolist() for _, lane in reduction.parts(torch.arange(len(grid)))]
    mine = [grid[number] for lane in lanes for number in lane]

    def leaves() -> Iterator[Leaf]:
        batches = enumerate(samples.batches(mine), start=1)
        for lane in lanes:
            sums = _zeros(model)
            for done, batch in islice(batches, len(lane)):
                mean = add(model, batch, loss, power, sums)
                report(done=done, total=len(mine), loss=mean)
            yield list(sums.values())

    with in_mode(model, training=False):
        trial = samples.batch(torch.arange(min(TRIAL_SIZE, len(samples))))
        add = _add_by_hooks if _hooks_are_exact(model, trial, loss) else _add_one_by_one
        totals = reduction.sum(leaves())
    if not all(bool(total.isfinite().all()) for total in totals):
        raise MethodFailed("the importances of the weights are not finite")
    return totals


class _NotByHooks(Exception):
    """A layer is used in a way that per-sample gradients by hooks do not cover."""


def _hooks_are_exact(model: nn.Module, batch: Batch, loss: Loss) -> bool:
    """Whether hooks give what a loop over single samples gives, tried on a few samples.

    Not so where a parameter belongs to a layer without a rule, or to two layers, where a layer is
    used twice or through a function of its own, or where samples are not its first dimension.
    """
    owners = _owners(model)
    owned = [parameter for owner in owners for parameter in _trainable(owner, recurse=False)]
    if not all(_rule(owner) for owner in owners) or len(set(owned)) < len(owned):
        return False
    by_hooks, one_by_one = _zeros(model), _zeros(model)
    try:
        _add_by_hooks(model, batch, loss, "absolute", by_hooks)
    except _NotByHooks:
        return False
    _add_one_by_one(model, batch, loss, "absolute", one_by_one)
    truth = torch.stack([total.mean() for total in one_by_one.values()])
    error = [(by_hooks[parameter] - total).abs().mean() for parameter, total in one_by_one.items()]
    # A gradient that is zero but for rounding may differ by all of itself, hence the second term.
    return bool((torch.stack(error) <= 0.01 * truth + 1e-5 * truth.max()).all())


def _add_one_by_one(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add each sample's share to `sums`, with one pass for each; gives the mean loss."""
    losses = []
    for i in range(len(batch.ids)):
        one = Batch(batch.images[i : i + 1], batch.labels[i : i + 1], batch.ids[i : i + 1])
        value = loss(model, one).sum()
        gradients = torch.autograd.grad(value, list(sums), materialize_grads=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += _powered(gradient.to(torch.float64), power)
        losses.append(value.detach())
    return torch.stack(losses).mean()


def _add_by_hooks(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add each sample's share to `sums`, with one pass for all; gives the mean loss."""
    with _recorded_calls(model, len(batch.ids)) as calls:
        losses = loss(model, batch)
    edges = [output for _, output in calls.values()]
    gradients = torch.autograd.grad(losses.sum(), edges, allow_unused=True)
    for (module, (features, _)), gradient in zip(calls.items(), gradients, strict=True):
        if gradient is None:  # the loss does not depend on the layer
            continue
        rule = _rule(module)
        assert rule is not None, "a model with such a layer is looped over"
        for parameter, total in rule(module, features, gradient, power):
            if parameter in sums:
                sums[parameter] += total
    return losses.detach().mean()


@contextmanager
def _recorded_calls(
    model: nn.Module, samples: int
) -> Iterator[dict[nn.Module, tuple[Tensor, GradientEdge]]]:
    """Each layer's input, and the place in autograd's graph of its output.

    The edge keeps meaning the layer's own output where that is changed in place later.
    """
    calls: dict[nn.Module, tuple[Tensor, GradientEdge]] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module in calls or len(inputs) != 1:
            raise _NotByHooks(f"{type(module).__name__} is used twice or with other arguments")
        if inputs[0].ndim < 2 or len(inputs[0]) != samples:
            raise _NotByHooks(f"{type(module).__name__} does not see one row for each sample")
        calls[module] = inputs[0].detach(), get_gradient_edge(output)

    handles = [owner.register_forward_hook(record) for owner in _owners(model)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _rule(module: nn.Module) -> Rule | None:
    match module:
        case nn.Conv2d(padding_mode="zeros", padding=tuple()):
            return _of_conv2d
        case nn.Linear():
            return _of_linear
        case nn.BatchNorm2d() if module.running_mean is not None:
            return _of_batch_norm
        case nn.LayerNorm():
            return _of_layer_norm
        case _:
            return None


def _of_conv2d(
    layer: nn.Conv2d, images: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    """A convolution is a linear map of the windows that it looks at, one map for each group."""
    assert isinstance(layer.padding, tuple)
    gradient = gradient.flatten(2)  # (n, out, positions)
    window = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    elements = layer.weight.numel() + window * gradient.shape[2]
    total = torch.zeros_like(layer.weight, dtype=torch.float64)
    for some, out in _chunks(images, gradient, elements):
        windows = functional.unfold(
            some,
            layer.kernel_size,
            dilation=layer.dilation,
            padding=layer.padding,
            stride=layer.stride,
        )
        maps = len(some) * layer.groups
        left = out.reshape(maps, -1, out.shape[2])
        right = windows.reshape(maps, -1, out.shape[2])
        per_sample = torch.bmm(left, right.mT).view(len(some), *layer.weight.shape)
        total += _sum(per_sample, power)
    yield layer.weight, total
    if layer.bias is not None:
        yield layer.bias, _sum(gradient.sum(dim=2), power)


def _of_linear(
    layer: nn.Linear, features: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    """(n, in) or (n, ..., in): one product for each sample, or a sum of products."""
    if features.ndim == 2:  # the power of a product is the product of the powers
        left = _powered(gradient.to(torch.float64), power)
        yield layer.weight, left.mT @ _powered(features.to(torch.float64), power)
        if layer.bias is not None:
            yield layer.bias, left.sum(dim=0)
    else:
        features, gradient = features.flatten(1, -2), gradient.flatten(1, -2)
        total = torch.zeros_like(layer.weight, dtype=torch.float64)
        for some, out in _chunks(features, gradient, layer.weight.numel()):
            total += _sum(torch.bmm(out.mT, some), power)
        yield layer.weight, total
        if layer.bias is not None:
            yield layer.bias, _sum(gradient.sum(dim=1), power)


def _of_batch_norm(
    layer: nn.BatchNorm2d, images: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    normal = functional.batch_norm(images, layer.running_mean, layer.running_var, eps=layer.eps)
    yield layer.weight, _sum((gradient * normal).sum(dim=(2, 3)), power)
    yield layer.bias, _sum(gradient.sum(dim=(2, 3)), power)


def _of_layer_norm(
    layer: nn.LayerNorm, features: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    normal = functional.layer_norm(features, layer.normalized_shape, eps=layer.eps)
    shape = (len(features), -1, *layer.normalized_shape)
    yield layer.weight, _sum((gradient * normal).reshape(shape).sum(dim=1), power)
    if layer.bias is not None:
        yield layer.bias, _sum(gradient.reshape(shape).sum(dim=1), power)


def _sum(per_sample: Tensor, power: Power) -> Tensor:
    """The sum over samples of a tensor that nobody needs afterwards."""
    powered = per_sample.square_() if power == "squared" else per_sample.abs_()
    return powered.sum(dim=0, dtype=torch.float64)


def _powered(gradient: Tensor, power: Power) -> Tensor:
    return gradient.square() if power == "squared" else gradient.abs()


def _chunks(
    features: Tensor, gradient: Tensor, elements_per_sample: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Both cut alike along the samples, so that few enough per-sample gradients are alive."""
    size = max(1, CHUNK_ELEMENTS // elements_per_sample)
    return zip(torch.split(features, size), torch.split(gradient, size), strict=True)


def _owners(model: nn.Module) -> list[nn.Module]:
    """The modules that hold trainable parameters themselves."""
    return [module for module in model.modules() if _trainable(module, recurse=False)]


def _trainable(module: nn.Module, *, recurse: bool = True) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters(recurse) if parameter.requires_grad]


def _zeros(model: nn.Module) -> Sums:
    return {
        parameter: torch.zeros_like(
            parameter, dtype=torch.float64, memory_format=torch.contiguous_format
        )
        for parameter in _trainable(model)
    }
