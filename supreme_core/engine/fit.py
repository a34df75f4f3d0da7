"""The one training loop: originals, retrained models and most methods go through it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from supreme_core import seeds
from supreme_core.engine.checkpoint import Checkpoints
from supreme_core.engine.modes import in_mode
from supreme_core.engine.randomness import kept_global_generator
from supreme_core.engine.reduction import Leaf, Reduction
from supreme_core.engine.samples import Augment, Batch, Samples
from supreme_core.errors import MethodFailed
from supreme_core.hashing import permutation

Loss = Callable[[nn.Module, Batch], Tensor]
"""(model, batch) to the loss of each sample, (n,)."""


class Report(Protocol):
    """Told after each step; `loss` stays on the device until somebody wants to see it.

    note: where in the work the step is, such as `epoch 3/8`.
    """

    def __call__(self, *, done: int, total: int, loss: Tensor, note: str = "") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How to train.

    optimizer: made for the model's parameters.  rate: factor of the learning rate at an epoch, with
    the fraction of it that is done.  augment: the augmentation of an epoch, None for none.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[list[nn.Parameter]], optim.Optimizer]
    rate: Callable[[float], float] = lambda epoch: 1.0
    augment: Callable[[int], Augment] | None = None


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def fit(
    model: nn.Module,
    samples: Samples,
    how: Fit,
    *,
    seed: int,
    reduction: Reduction,
    report: Report,
    loss: Loss = cross_entropy,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train `model` in place. Order, augmentation and dropout are functions of `seed` alone.

    Raises MethodFailed where the loss stops being finite, and Terminated, with a checkpoint
    written, where the process was told to stop.
    """
    checkpoints = checkpoints or Checkpoints.none(reduction.ranks)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = how.optimizer(parameters)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    steps = -(-len(samples) // how.batch_size)
    with (
        in_mode(model, training=True),
        kept_global_generator(reduction.ranks.device),
        checkpoints.interruption.deferred(),
    ):
        resumed = checkpoints.begin(model, optimizer)
        for epoch in range(resumed // max(steps, 1), how.epochs):
            order = torch.from_numpy(permutation(seeds.derive(seed, "order", epoch), len(samples)))
            augment = how.augment(epoch) if how.augment else None
            finite = torch.ones((), dtype=torch.bool, device=reduction.ranks.device)
            for step, positions in enumerate(torch.split(order, how.batch_size)):
                done = epoch * steps + step + 1
                if done <= resumed:
                    continue
                for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                    group["lr"] = rate * how.rate(epoch + step / steps)
                optimizer.zero_grad()
                dropout = seeds.derive(seed, "dropout", epoch, step)
                mean = step_gradients(model, samples, positions, loss, augment, dropout, reduction)
                optimizer.step()
                finite &= mean.isfinite()
                note = f"epoch {epoch + 1}/{how.epochs}"
                report(done=done, total=how.epochs * steps, loss=mean, note=note)
                checkpoints.step(model, optimizer, done)
            if not finite:  # the one point of an epoch at which the device is waited for
                raise MethodFailed(f"the loss is not finite in epoch {epoch + 1} of {how.epochs}")


def step_gradients(
    model: nn.Module,
    samples: Samples,
    positions: Tensor,
    loss: Loss,
    augment: Augment | None,
    dropout: int,
    reduction: Reduction,
) -> Tensor:
    """Set every .grad to the gradient of the batch mean; gives the mean loss.

    BatchNorm sees one micro-batch at a time. Its running statistics move from their value before
    the step to the mean over micro-batches, weighted by size: b <- sum_v (n_v / n) b_v, which is
    one ordinary update with the averaged statistics. They travel through the same tree. The count
    of batches goes up by one.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    statistics = _running_statistics(model)
    counts = _batch_counts(model)
    before = [tensor.clone() for tensor in statistics]
    counts_before = [count.clone() for count in counts]
    total = len(positions)

    def leaves() -> Iterator[Leaf]:
        for number, part in reduction.parts(positions):
            _copy(statistics, before)
            _copy(counts, counts_before)
            torch.manual_seed(seeds.derive(dropout, number))  # dropout takes no generator
            if len(part):
                mean = loss(model, samples.batch(part, augment)).sum() / total
                gradients = torch.autograd.grad(mean, parameters, materialize_grads=True)
            else:
                mean = torch.zeros((), device=reduction.ranks.device)
                gradients = tuple(torch.zeros_like(parameter) for parameter in parameters)
            shares = [statistic * (len(part) / total) for statistic in statistics]
            yield [*gradients, *shares, mean.detach()]

    sums = reduction.sum(leaves())
    for parameter, gradient in zip(parameters, sums, strict=False):
        parameter.grad = gradient
    _copy(statistics, sums[len(parameters) : -1])
    _copy(counts, [count + 1 for count in counts_before])
    return sums[-1]


def _copy(targets: list[Tensor], values: list[Tensor]) -> None:
    if targets:  # torch's _foreach functions refuse empty lists
        torch._foreach_copy_(targets, values)


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances of all BatchNorm layers that learn from batches at the moment."""
    return [
        statistic
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        if module.training
        for statistic in (module.running_mean, module.running_var)
        if statistic is not None
    ]


def _batch_counts(model: nn.Module) -> list[Tensor]:
    """The counts of batches of all BatchNorm layers that learn from them at the moment."""
    return [
        module.num_batches_tracked
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        if module.training and module.num_batches_tracked is not None
    ]
