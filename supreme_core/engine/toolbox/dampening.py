"""Importance of each weight to a loss: sums over samples of powers of its gradient, exact.

Plain autograd gives the gradient of a sum of samples; here each sample's own is needed. One forward
pass and one backward pass through the activations give it for a whole batch: what went into a
layer and the gradient of what came out make up the gradient of its weights, sample by sample. What
belongs to no such layer, as a position embedding, takes a second pass by torch.func.vmap.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from supreme_core.engine.images.samples import Batch, Samples
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.ranks.reduction import Leaf, Reduction
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.fit import Report
from supreme_core.engine.training.loss import Loss
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params
from supreme_core.system.faults import fault_of

BATCH_SIZE = 64
"""Fixed, so that the grid of batches and with it every bit is the same on any number of ranks."""

CHUNK_ELEMENTS = 2**22
"""Most elements of a layer's per-sample gradients alive at once (16 MiB), or one sample's.
More is slower on a CPU: each chunk's memory is then fresh from the system."""

TRIAL_SIZE = 3
"""Samples on which both ways are compared before the fast one is trusted with a model."""

Power = Literal["squared", "absolute"]

Sums = dict[Tensor, Tensor]
"""A float64 tensor of the parameter's shape for each trainable parameter, in the model's order."""

Add = Callable[[nn.Module, Batch, Loss, Power, Sums], Tensor]
"""Adds each sample's share to the sums; gives the mean loss."""

Calls = dict[nn.Module, tuple[Tensor, GradientEdge]]
"""Each layer's input, and the place in autograd's graph of its output."""

LayerRule = Callable[[Any, Tensor, Tensor, Power], Iterator[tuple[Tensor, Tensor]]]
"""(layer, its input, gradient of its output, power) to the sums of its parameters."""


def mean_importances(
    task: UnlearningTask, *, loss: Loss, power: Power
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean importances over the forget set, and over the whole training set.

    Each sample is passed once: the sum over the training set is that of its two parts.
    """
    forget, retain = _sums_of_parts(task, loss=loss, power=power)
    count = len(task.forget) + len(task.retain)
    everything = [(of_f + of_r) / count for of_f, of_r in zip(forget, retain, strict=True)]
    return [total / len(task.forget) for total in forget], everything


def importances_of_parts(
    task: UnlearningTask, *, loss: Loss, power: Power
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean importances over the forget set, and over the retain set alone."""
    forget, retain = _sums_of_parts(task, loss=loss, power=power)
    return (
        [total / len(task.forget) for total in forget],
        [total / len(task.retain) for total in retain],
    )


def _sums_of_parts(
    task: UnlearningTask, *, loss: Loss, power: Power
) -> tuple[list[Tensor], list[Tensor]]:
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
    return forget, retain


def batch_importances(
    task: UnlearningTask, *, loss: Loss, power: Power, batch_size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Importances by gradients of batches' mean losses, as the authors of SSD compute them.

    Batches are drawn at random, of the forget set and of the whole training set; the last one is
    smaller and counts like the others.
    """
    found = []
    for address, samples in (("forget", task.forget), ("all", task.forget.join(task.retain))):
        order = permutation(streams.derive(task.seed, "batches", address), len(samples))
        grid = torch.split(torch.from_numpy(order), batch_size)
        sums = _sums_over(
            task.model,
            samples,
            grid,
            _add_batch,
            loss=loss,
            power=power,
            reduction=task.reduction,
            report=task.report,
        )
        found.append([total / len(grid) for total in sums])
    forget, everything = found
    return forget, everything


class DampeningParams(Params):
    """Choice of the weights that are dampened, and how far; shared by the methods that dampen."""

    LATER: ClassVar = ("variant",)

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
    variant: Literal["per_sample", "batch"] = Field(
        "per_sample",
        description="Gradients that are squared, or made absolute: each sample's, or the mean of"
        " each batch's, as the authors' code has it, which depends on the batches.",
    )
    batch_size: int = Field(64, ge=1, description="Samples of a batch of the variant batch.")

    def identity(self) -> dict[str, Any]:
        """The variant came later, and without it the size of its batches means nothing."""
        document = super().identity()
        if self.variant == "per_sample":
            del document["batchSize"]
        return document

    def importances(
        self, task: UnlearningTask, *, loss: Loss, power: Power
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Importances for the forget set and the whole training set, as the variant has them."""
        if self.variant == "batch":
            return batch_importances(task, loss=loss, power=power, batch_size=self.batch_size)
        return mean_importances(task, loss=loss, power=power)


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
    for parameter, of_f, of_d in zip(trainable(model), forget, everything, strict=True):
        selected = of_f > alpha * of_d
        ratio = lambda_ * of_d / torch.where(selected, of_f, 1)
        factor = torch.where(selected, ratio.clamp(max=1), 1)
        parameter.mul_(factor.to(parameter))


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
    with in_mode(model, training=False):
        trial = samples.batch(torch.arange(min(TRIAL_SIZE, len(samples))))
        add = _in_batches(model, trial, loss) or _add_one_by_one
    return _sums_over(
        model,
        samples,
        torch.split(torch.arange(len(samples)), BATCH_SIZE),
        add,
        loss=loss,
        power=power,
        reduction=reduction,
        report=report,
    )


def _sums_over(
    model: nn.Module,
    samples: Samples,
    grid: Sequence[Tensor],
    add: Add,
    *,
    loss: Loss,
    power: Power,
    reduction: Reduction,
    report: Report,
) -> list[Tensor]:
    """Sum over ranks of what `add` gives for the batches whose positions are in the grid."""
    lanes = [lane.tolist() for _, lane in reduction.parts(torch.arange(len(grid)))]
    mine = [grid[number] for lane in lanes for number in lane]

    def leaves() -> Iterator[Leaf]:
        batches = enumerate(samples.batches(mine), start=1)
        for lane in lanes:
            sums = _zeros(model)
            for done, batch in islice(batches, len(lane)):
                mean = add(model, batch, loss, power, sums)
                report(done=done, total=len(mine), loss=mean, images=len(mine[done - 1]))
            yield list(sums.values())

    with in_mode(model, training=False):
        totals = reduction.sum(leaves())
    if not all(bool(total.isfinite().all()) for total in totals):
        raise MethodFailed("the importances of the weights are not finite")
    return totals


def _in_batches(model: nn.Module, batch: Batch, loss: Loss) -> Add | None:
    """The fast way, None where it does not give what a loop over single samples gives.

    It is tried on a few samples. Not every model can be put through vmap, and a layer may be used
    beside its own call, which no hook sees. Nothing else decides: an error that has another cause,
    such as a lack of memory, is raised, since the two ways add in other orders.
    """
    layers = _regular_layers(model, batch, loss)
    theirs = {parameter for layer in layers for parameter in layer.parameters(recurse=False)}
    rest = [name for name, each in model.named_parameters() if each.requires_grad]
    rest = [name for name in rest if model.get_parameter(name) not in theirs]
    if TRIAL_SIZE * sum(model.get_parameter(name).numel() for name in rest) > CHUNK_ELEMENTS:
        return None  # so few samples would go at a time that nothing is gained

    def add(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
        if rest:
            _add_by_vmap(model, rest, batch, loss, power, sums)
        return _add_by_hooks(model, layers, batch, loss, power, sums)

    fast, one_by_one = _zeros(model), _zeros(model)
    try:
        add(model, batch, loss, "absolute", fast)
    except (RuntimeError, ValueError) as refused:
        if not (rest and _is_refusal(refused)):
            raise
        return None
    _add_one_by_one(model, batch, loss, "absolute", one_by_one)
    truth = torch.stack([total.mean() for total in one_by_one.values()])
    error = [(fast[parameter] - total).abs().mean() for parameter, total in one_by_one.items()]
    # A gradient that is zero but for rounding may differ by all of itself, hence the second term.
    exact = bool((torch.stack(error) <= 0.01 * truth + 1e-5 * truth.max()).all())
    return add if exact else None


REFUSALS: Final = re.compile(
    r"vmap|functorch|torch\.func\b|batching rule|data pointer", re.IGNORECASE
)
"""Words of torch for what vmap cannot do with a model; a kernel of its own has no tensor there."""


def _is_refusal(error: Exception) -> bool:
    """Return whether vmap says that it cannot do what a model asks for, on any machine."""
    if fault_of(error):
        return False
    return isinstance(error, NotImplementedError | ValueError) or bool(REFUSALS.search(str(error)))


def _regular_layers(model: nn.Module, batch: Batch, loss: Loss) -> list[nn.Module]:
    """Layers with a rule and parameters of their own, called once with one row for each sample."""
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


def _add_one_by_one(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add each sample's share to `sums`, with one pass for each; gives the mean loss."""
    losses = []
    for i in range(len(batch.ids)):
        one = Batch(batch.images[i : i + 1], batch.labels[i : i + 1], batch.ids[i : i + 1])
        value = loss(model, one).sum()
        gradients = torch.autograd.grad(value, list(sums), materialize_grads=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += _powered(for_float64(gradient).to(torch.float64), power)
        losses.append(value.detach())
    return torch.stack(losses).mean()


def _add_batch(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add that of the batch's mean loss to `sums`; gives the mean loss."""
    mean = loss(model, batch).mean()
    gradients = torch.autograd.grad(mean, list(sums), materialize_grads=True)
    for total, gradient in zip(sums.values(), gradients, strict=True):
        total += _powered(for_float64(gradient).to(torch.float64), power)
    return mean.detach()


def _add_by_hooks(
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


def _add_by_vmap(
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
                powered = _powered(gradient, power)
                sums[parameters[name]] += for_float64(powered).sum(dim=0, dtype=torch.float64)


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
    window = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    elements = layer.weight.numel() + window * gradient.shape[2]
    total = torch.zeros_like(for_float64(layer.weight), dtype=torch.float64)
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
        left = _powered(for_float64(gradient).to(torch.float64), power)
        yield layer.weight, left.mT @ _powered(for_float64(features).to(torch.float64), power)
        if layer.bias is not None:
            yield layer.bias, left.sum(dim=0)
    else:
        features, gradient = features.flatten(1, -2), gradient.flatten(1, -2)
        total = torch.zeros_like(for_float64(layer.weight), dtype=torch.float64)
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
    return for_float64(powered).sum(dim=0, dtype=torch.float64)


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
    return [module for module in model.modules() if trainable(module, recurse=False)]


def _zeros(model: nn.Module) -> Sums:
    return {
        parameter: torch.zeros_like(
            for_float64(parameter), dtype=torch.float64, memory_format=torch.contiguous_format
        )
        for parameter in trainable(model)
    }
