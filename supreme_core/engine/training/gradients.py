"""The gradient of a batch's mean loss, micro-batch by micro-batch, added up in a fixed tree."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supreme_core.engine.images.randomness import seed_generators
from supreme_core.engine.images.samples import Augment, Batch, Samples
from supreme_core.engine.networks.weights import laid_out_like, trainable
from supreme_core.engine.ranks.reduction import Leaf, Reduction
from supreme_core.engine.training.batch_norm import single_values
from supreme_core.engine.training.loss import Loss
from supreme_core.randomness import streams


@dataclass(frozen=True, kw_only=True)
class OptimizerStep:
    """Batch of one step of the optimiser.

    positions, following: of its samples, and of those of the next step, none at the end of an
    epoch.  dropout: seed of its random numbers.
    """

    positions: Tensor
    following: Tensor
    augment: Augment | None
    dropout: int

    @property
    def size(self) -> int:
        return len(self.positions)

    @property
    def is_last(self) -> bool:
        """True if the step ends an epoch, so that it may be smaller than the others."""
        return not len(self.following)


class Gradients(Protocol):
    """One way to compute a step's gradients."""

    def __call__(self, step: OptimizerStep) -> Tensor:
        """Set every .grad to the (scaled) gradient of the batch mean; gives the mean loss."""
        ...


@dataclass(frozen=True)
class Job:
    """Job of computing gradients.  scale: factor of the loss, 1 where nothing is scaled."""

    model: nn.Module
    samples: Samples
    loss: Loss
    reduction: Reduction
    scale: Callable[[Tensor], Tensor]

    def set_gradients(self, sums: Sequence[Tensor]) -> None:
        """Set gradients of the trainable parameters, which stand first among what was added up."""
        for parameter, gradient in zip(trainable(self.model), sums, strict=False):
            parameter.grad = gradient

    def parts(self, step: OptimizerStep) -> Iterator[tuple[int, Batch | None]]:
        """This rank's micro-batches, numbered, None for an empty one; the images of the next are on
        their way while one is used."""
        mine = list(self.reduction.parts(step.positions))
        later = [*mine, *self.reduction.parts(step.following)]
        for place, (number, part) in enumerate(mine, start=1):
            batch = self.samples.batch(part, step.augment) if len(part) else None
            upcoming = next((each for _, each in later[place:] if len(each)), None)
            if batch and upcoming is not None:
                self.samples.ahead(upcoming)
            yield number, batch

    def stand_in(self, step: OptimizerStep) -> Batch:
        """A sample that does not count, for a rank without one that has to meet the others."""
        return self.samples.batch(step.positions[:1], step.augment)


@dataclass(frozen=True)
class MicroBatchGradients:
    """BatchNorm sees one micro-batch at a time.

    Its running statistics move from their value before the step to the mean over micro-batches,
    weighted by size: b <- sum_v (n_v / n) b_v, which is one ordinary update with the averaged
    statistics. They travel through the same tree. The count of batches goes up by one.
    """

    job: Job

    def __call__(self, step: OptimizerStep) -> Tensor:
        job, parameters = self.job, trainable(self.job.model)
        statistics, counts = running_statistics(job.model), batch_counts(job.model)
        before = [tensor.clone() for tensor in statistics]
        counts_before = [count.clone() for count in counts]

        def leaves() -> Iterator[Leaf]:
            for number, batch in job.parts(step):
                copy_all(statistics, before)
                copy_all(counts, counts_before)
                # Dropout takes no generator.
                seed_generators(streams.derive(step.dropout, number), job.reduction.ranks.device)
                if batch:
                    mean = job.loss(job.model, batch).sum() / step.size
                    found = torch.autograd.grad(job.scale(mean), parameters, materialize_grads=True)
                    gradients = as_laid_out(parameters, found)
                else:
                    mean = torch.zeros((), device=job.reduction.ranks.device)
                    gradients = [torch.zeros_like(parameter) for parameter in parameters]
                share = (len(batch) if batch else 0) / step.size
                shares = [statistic * share for statistic in statistics]
                yield [*gradients, *shares, mean.detach()]

        with single_values(allowed=step.is_last):
            sums = job.reduction.sum(leaves())
        job.set_gradients(sums)
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
