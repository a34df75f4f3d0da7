"""Each sample's gradient of a layer's weights, from one pass through the activations of a batch.

What went into a layer and the gradient of what came out make up the gradient of its weights, sample
by sample; a rule for each type of layer says how. Hooks see both, where a layer is called once with
one row for each sample.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.ranks.device import GRADIENT_ELEMENTS, for_float64
from supreme_core.engine.toolbox.importance_by_sample import Power, Sums, powered
from supreme_core.engine.training.loss import Loss

CACHED_ELEMENTS: Final = 2**17
"""Elements of per-sample gradients that are squared and added up at one time on a CPU."""

CACHED_ELEMENTS_OF_ONE: Final = 2**18
"""Elements of one sample's gradients that are squared and added up at one time on a CPU, where
weights are so many that samples come one by one. With fewer the products are slow."""

Calls = dict[nn.Module, tuple[Tensor, GradientEdge]]
"""Each layer's input, and the place in autograd's graph of its output."""

LayerRule = Callable[[Any, Tensor, Tensor, Power], Iterator[tuple[Tensor, Tensor]]]
"""(layer, its input, gradient of its output, power) to the sums of its parameters."""


def regular_layers(model: nn.Module, batch: Batch, loss: Loss) -> list[nn.Module]:
    """List the layers with a rule and parameters of their own, called once with all samples."""
    owners = _owners(model)
    owned = Counter(each for owner in owners for each in owner.parameters(recurse=False))
    layers = [
        owner
        for owner in owners
        if _rule(owner) and all(owned[each] == 1 for each in owner.parameters(recurse=False))
    ]
    with _recorded_calls(layers, len(batch.ids)) as calls:
        loss(model, batch)
    return list(calls)


def add_by_layer(
    model: nn.Module,
    layers: Sequence[nn.Module],
    batch: Batch,
    loss: Loss,
    power: Power,
    sums: Sums,
) -> Tensor:
    """Add each sample's share in the parameters of `layers`, with one pass for all samples."""
    with _recorded_calls(layers, len(batch.ids)) as calls:
        losses = loss(model, batch)
    edges = [output for _, output in calls.values()]
    gradients = torch.autograd.grad(losses.sum(), edges, allow_unused=True) if edges else ()
    for (module, (features, _)), gradient in zip(calls.items(), gradients, strict=True):
        if gradient is None:  # the loss does not depend on the layer
            continue
        rule = _rule(module)
        assert rule is not None
        for parameter, total in rule(module, features, gradient, power):
            if parameter in sums:
                sums[parameter] += total
    return losses.detach().mean()


@contextmanager
def _recorded_calls(layers: Sequence[nn.Module], samples: int) -> Iterator[Calls]:
    """The calls of layers that are called once, with one row for each sample.

    The edge keeps meaning the layer's own output where that is changed in place later.
    """
    calls: Calls = {}
    seen: set[nn.Module] = set()

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        is_first = module not in seen
        seen.add(module)
        if is_first and len(inputs) == 1 and inputs[0].ndim > 1 and len(inputs[0]) == samples:
            calls[module] = inputs[0].detach(), get_gradient_edge(output)
        else:
            calls.pop(module, None)

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _rule(module: nn.Module) -> LayerRule | None:
    if type(module).forward not in KNOWN:
        return None
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


KNOWN: Final = {each.forward for each in (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)}
"""Forward passes of layers with a rule; some libraries derive layers that compute more."""


def _of_conv2d(
    layer: nn.Conv2d, images: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    """A convolution is a linear map of the windows that it looks at, one map for each group."""
    assert isinstance(layer.padding, tuple)
    gradient = gradient.flatten(2)  # (n, out, positions)
    weights, groups = layer.weight.numel(), layer.groups
    windows_of_one = layer.weight[0].numel() * groups * gradient.shape[2]
    total = _zeros(layer.weight)
    size = _samples_at_once(gradient, weights + windows_of_one)
    held, rows = size, layer.out_channels // groups
    if size == 1 and gradient.device.type == "cpu":
        # Some rows of the total at a time, which stay in the cache from one sample to the next.
        held = _samples_at_once(gradient, windows_of_one)
        rows = max(1, CACHED_ELEMENTS_OF_ONE // (weights // rows))
    windows, products = images.new_empty(0), gradient.new_empty(0)
    for some, out in zip(torch.split(images, held), torch.split(gradient, held), strict=True):
        windows = _windows(layer, some, windows)
        left = out.reshape(len(some), groups, -1, out.shape[2])
        right = windows.view(len(some), groups, -1, out.shape[2])
        _add_products(total, left, right.mT, power, size, rows, products)
    yield layer.weight, total
    if layer.bias is not None:
        yield layer.bias, _sum(gradient.sum(dim=2), power)


def _windows(layer: nn.Conv2d, images: Tensor, memory: Tensor) -> Tensor:
    """Windows as `functional.unfold` gives them, (n, in * window, positions), copied into memory.

    `unfold` itself takes longer on a CPU, and on a GPU a launch for each image.
    """
    assert isinstance(layer.padding, tuple)
    down, right = layer.padding
    found = functional.pad(images.contiguous(), (right, right, down, down))
    for axis in (0, 1):
        step = layer.dilation[axis]
        span = step * (layer.kernel_size[axis] - 1) + 1
        found = found.unfold(2 + axis, span, layer.stride[axis])[..., ::step]
    found = found.permute(0, 1, 4, 5, 2, 3)
    memory.resize_(found.shape).copy_(found)
    return memory.view(len(images), -1, found.shape[4] * found.shape[5])


def _of_linear(
    layer: nn.Linear, features: Tensor, gradient: Tensor, power: Power
) -> Iterator[tuple[Tensor, Tensor]]:
    """(n, in) or (n, ..., in): one product for each sample, or a sum of products."""
    if features.ndim == 2:  # the power of a product is the product of the powers
        left = powered(for_float64(gradient).to(torch.float64), power)
        yield layer.weight, left.mT @ powered(for_float64(features).to(torch.float64), power)
        if layer.bias is not None:
            yield layer.bias, left.sum(dim=0)
    else:
        features, gradient = features.flatten(1, -2), gradient.flatten(1, -2)
        total, products = _zeros(layer.weight), gradient.new_empty(0)
        size, rows = _samples_at_once(gradient, layer.weight.numel()), layer.out_features
        left, right = gradient.mT.unsqueeze(1), features.unsqueeze(1)
        _add_products(total, left, right, power, size, rows, products)
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


def _add_products(
    total: Tensor,
    left: Tensor,
    right: Tensor,
    power: Power,
    size: int,
    rows: int,
    memory: Tensor,
) -> None:
    """Add the sum over samples of powers of a product for each sample.

    total: of the weights' shape.  left: (n, groups, out, positions).  right: (n, groups,
    positions, in).  size: samples of one sum, which is added to the total.  rows: of `out` at one
    time. No bit of a product of few positions depends on them.
    memory: what products use again: on a CPU the system gives what is new page by page.
    """
    _, groups, out, _ = left.shape
    width = right.shape[3]
    of_groups = total.view(groups, out, width)
    parts = torch.split(left, rows, dim=2), torch.split(of_groups, rows, dim=1)
    for of_rows, of_total in zip(*parts, strict=True):
        for some, others in zip(torch.split(of_rows, size), torch.split(right, size), strict=True):
            found = memory.resize_(len(some) * groups, some.shape[2], width)
            torch.bmm(some.flatten(0, 1), others.flatten(0, 1), out=found)
            if rows < out:
                of_total += _sum(found[None], power)
            else:
                _add(total, found.view(len(some), *total.shape), power)


def _add(total: Tensor, per_sample: Tensor, power: Power) -> None:
    """Add the sum over samples of a tensor that nobody needs afterwards.

    On a CPU some rows of all samples at a time, which stay in its cache from one operation to the
    next; each element meets the same additions in the same order.
    """
    rows = len(total)
    if per_sample.device.type == "cpu":
        rows = max(1, CACHED_ELEMENTS // per_sample[:, :1].numel())
    parts = torch.split(per_sample, rows, dim=1), torch.split(total, rows)
    for some, of_total in zip(*parts, strict=True):
        of_total += _sum(some, power)


def _sum(per_sample: Tensor, power: Power) -> Tensor:
    """The sum over samples of a tensor that nobody needs afterwards."""
    powers = for_float64(per_sample.square_() if power == "squared" else per_sample.abs_())
    if len(powers) == 1:  # what a sum would give, without the sum
        return powers[0].to(torch.float64)
    return powers.sum(dim=0, dtype=torch.float64)


def _zeros(weights: Tensor) -> Tensor:
    """Zeros for the sums of weights, laid out as the products, however the weights are: what
    differs is added element by element."""
    layout = torch.contiguous_format
    return torch.zeros_like(for_float64(weights), dtype=torch.float64, memory_format=layout)


def _samples_at_once(gradient: Tensor, elements_of_one: int) -> int:
    """Number of samples of which so many elements each may be alive."""
    return max(1, GRADIENT_ELEMENTS[gradient.device.type] // elements_of_one)


def _owners(model: nn.Module) -> list[nn.Module]:
    """The modules that hold trainable parameters themselves."""
    return [module for module in model.modules() if trainable(module, recurse=False)]
