"""The gradient of a batch's mean loss, micro-batch by micro-batch, added up in a fixed tree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supreme_core import seeds
from supreme_core.engine.loss import Loss
from supreme_core.engine.reduction import Leaf, Reduction
from supreme_core.engine.samples import Augment, Samples
from supreme_core.engine.weights import laid_out_like


class Gradients(Protocol):
    """One way to compute a step's gradients."""

    def __call__(self, positions: Tensor, augment: Augment | None, dropout: int) -> Tensor:
        """Set every .grad to the (scaled) gradient of the batch mean; gives the mean loss.

        positions: of the batch in the samples.  dropout: seed of the step's random numbers.
        """
        ...


@dataclass(frozen=True)
class Job:
    """What gradients are computed of.  scale: factor of the loss, 1 where nothing is scaled."""

    model: nn.Module
    samples: Samples
    loss: Loss
    reduction: Reduction
    scale: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


@dataclass(frozen=True)
class MicroBatchGradients:
    """BatchNorm sees one micro-batch at a time.

    Its running statistics move from their value before the step to the mean over micro-batches,
    weighted by size: b <- sum_v (n_v / n) b_v, which is one ordinary update with the averaged
    statistics. They travel through the same tree. The count of batches goes up by one.
    """

    job: Job

    def __call__(self, positions: Tensor, augment: Augment | None, dropout: int) -> Tensor:
        job, parameters = self.job, self.job.parameters
        statistics, counts = running_statistics(job.model), batch_counts(job.model)
        before = [tensor.clone() for tensor in statistics]
        counts_before = [count.clone() for count in counts]
        total = len(positions)

        def leaves() -> Iterator[Leaf]:
            for number, part in job.reduction.parts(positions):
                copy_all(statistics, before)
                copy_all(counts, counts_before)
                torch.manual_seed(seeds.derive(dropout, number))  # dropout takes no generator
                if len(part):
                    mean = job.loss(job.model, job.samples.batch(part, augment)).sum() / total
                    found = torch.autograd.grad(job.scale(mean), parameters, materialize_grads=True)
                    gradients = as_laid_out(parameters, found)
                else:
                    mean = torch.zeros((), device=job.reduction.ranks.device)
                    gradients = [torch.zeros_like(parameter) for parameter in parameters]
                shares = [statistic * (len(part) / total) for statistic in statistics]
                yield [*gradients, *shares, mean.detach()]

        sums = job.reduction.sum(leaves())
        for parameter, gradient in zip(parameters, sums, strict=False):
            parameter.grad = gradient
        copy_all(statistics, sums[len(parameters) : -1])
        copy_all(counts, [count + 1 for count in counts_before])
        return sums[-1]


def as_laid_out(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Each gradient with the strides of its parameter, as the reduction wants all leaves alike."""
    return [laid_out_like(p, gradient) for p, gradient in zip(parameters, gradients, strict=True)]


def copy_all(targets: list[Tensor], values: list[Tensor]) -> None:
    if targets:  # torch's _foreach functions refuse empty lists
        torch._foreach_copy_(targets, values)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances of all BatchNorm layers that learn from batches at the moment."""
    return [
        statistic
        for module in batch_norms(model)
        if module.training
        for statistic in (module.running_mean, module.running_var)
        if statistic is not None
    ]


def batch_counts(model: nn.Module) -> list[Tensor]:
    """The counts of batches of all BatchNorm layers that learn from them at the moment."""
    return [
        module.num_batches_tracked
        for module in batch_norms(model)
        if module.training and module.num_batches_tracked is not None
    ]
