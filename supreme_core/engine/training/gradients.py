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
from supreme_core.engine.training.curve import judged
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


@dataclass(frozen=True)
class StepOutcome:
    """Mean loss of a step's batch, and (2,) how many of its samples were predicted right, of how
    many; the same on every rank."""

    loss: Tensor
    counts: Tensor


class Gradients(Protocol):
    """One way to compute a step's gradients."""

    def __call__(self, step: OptimizerStep) -> StepOutcome:
        """Set every .grad to the (scaled) gradient of the batch mean."""
        ...

    def prove(self) -> None:
        """Look at what was computed since the last time, where that was not done operation by
        operation. GraphFault where it may be wrong.

        What a training goes on from stays as it is; but what is in every .grad counts no longer.
        """
        return


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """A micro-batch of this rank.

    number: among those of all ranks.  positions: of its samples, none for an empty one.  upcoming:
    of the micro-batch that this rank uses next, None at the end of an epoch.
    """

    number: int
    positions: Tensor
    upcoming: Tensor | None


class Leaves(Protocol):
    """One way to compute the leaves of a step."""

    def __call__(self, step: OptimizerStep, part: MicroBatch) -> Leaf:
        """Gradients of a micro-batch's share of the mean loss, that share, and its counts."""
        ...

    def prove(self) -> None:
        """Look at leaves as `Gradients.prove` does at steps."""
        return


@dataclass(frozen=True)
class Job:
    """Job of computing gradients.  scale: factor of the loss, 1 where nothing is scaled."""

    model: nn.Module
    samples: Samples
    loss: Loss
    reduction: Reduction
    scale: Callable[[Tensor], Tensor]

    def split(self, step: OptimizerStep) -> list[MicroBatch]:
        """This rank's micro-batches."""
        mine = list(self.reduction.parts(step.positions))
        later = [*mine, *self.reduction.parts(step.following)]
        return [
            MicroBatch(
                number, positions, next((each for _, each in later[place:] if len(each)), None)
            )
            for place, (number, positions) in enumerate(mine, start=1)
        ]

    def batch(self, step: OptimizerStep, part: MicroBatch) -> Batch | None:
        """The samples of a micro-batch, None for an empty one; the images of the next are then on
        their way."""
        if not len(part.positions):
            return None
        batch = self.samples.batch(part.positions, step.augment)
        if part.upcoming is not None:
            self.samples.ahead(part.upcoming)
        return batch

    def parts(self, step: OptimizerStep) -> Iterator[tuple[int, Batch | None]]:
        """This rank's micro-batches, numbered; the images of the next are on their way while one
        is used."""
        for part in self.split(step):
            yield part.number, self.batch(step, part)

    def looked_at(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the losses of a batch, and (2,) how many samples were predicted right, of how
        many: by the first pass that the loss makes."""
        outputs: list[object] = []
        handle = model.register_forward_hook(lambda _, inputs, output: outputs.append(output))
        try:
            total = self.loss(model, batch).sum()
        finally:
            handle.remove()
        return total, judged(outputs[0] if outputs else None, batch).to(total.dtype)

    def stand_in(self, step: OptimizerStep) -> Batch:
        """A sample that does not count, for a rank without one that has to meet the others."""
        return self.samples.batch(step.positions[:1], step.augment)


class MicroBatchGradients(Gradients):
    """BatchNorm sees one micro-batch at a time.

    Its running statistics move from their value before the step to the mean over micro-batches,
    weighted by size: b <- sum_v (n_v / n) b_v, which is one ordinary update with the averaged
    statistics. They travel through the same tree. The count of batches goes up by one.
    """

    def __init__(self, job: Job, leaves: Leaves | None = None) -> None:
        self._job, self._leaf = job, leaves or EagerLeaves(job)
        self._parameters = trainable(job.model)
        self._statistics, self._counts = running_statistics(job.model), batch_counts(job.model)

    def __call__(self, step: OptimizerStep) -> StepOutcome:
        counts_after = added(self._counts, 1)
        with single_values(allowed=step.is_last):
            if self._job.reduction.micro_batches == 1:
                (part,) = self._job.split(step)
                *gradients, mean, right = self._leaf(step, part)
            else:
                *gradients, mean, right = self._summed(step)
        set_gradients(self._parameters, gradients)
        copy_all(self._counts, counts_after)
        return StepOutcome(mean, right)

    def prove(self) -> None:
        with single_values(allowed=True):  # the step that is compared was allowed to
            self._leaf.prove()

    def _summed(self, step: OptimizerStep) -> Leaf:
        """Add the micro-batches of all ranks up, and move the running statistics."""
        before = [statistic.clone() for statistic in self._statistics]
        counts_before = [count.clone() for count in self._counts]

        def leaves() -> Iterator[Leaf]:
            for part in self._job.split(step):
                copy_all(self._statistics, before)
                copy_all(self._counts, counts_before)
                *gradients, mean, right = self._leaf(step, part)
                share = len(part.positions) / step.size
                yield [*gradients, *multiplied(self._statistics, share), mean, right]

        sums = self._job.reduction.sum(leaves())
        count = len(self._parameters)
        copy_all(self._statistics, sums[count:-2])
        return [*sums[:count], *sums[-2:]]


class EagerLeaves(Leaves):
    """Leaves computed operation by operation."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._parameters = trainable(job.model)

    def __call__(self, step: OptimizerStep, part: MicroBatch) -> Leaf:
        device = self.job.reduction.ranks.device
        batch = self.job.batch(step, part)
        seed_generators(streams.derive(step.dropout, part.number), device)
        if batch is not None:
            return self.computed(batch, step.size)
        zeros = [torch.zeros_like(parameter) for parameter in self._parameters]
        mean = torch.zeros((), device=device)
        self.job.scale(mean)  # a scaler begins with what it scales, and each rank unscales later
        return [*zeros, mean, torch.zeros(2, device=device)]

    def computed(self, batch: Batch, size: int) -> Leaf:
        """The leaf of a micro-batch of a step with `size` samples."""
        job, parameters = self.job, self._parameters
        total, right = job.looked_at(job.model, batch)
        mean = total / size
        found = torch.autograd.grad(job.scale(mean), parameters, materialize_grads=True)
        return [*as_laid_out(parameters, found), mean.detach(), right]


def as_laid_out(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Each gradient with the strides of its parameter, as the reduction wants all leaves alike."""
    return [laid_out_like(p, gradient) for p, gradient in zip(parameters, gradients, strict=True)]


def set_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


# torch's _foreach functions refuse empty lists, and a network may have no BatchNorm.


def copy_all(targets: list[Tensor], values: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, values)


def added(tensors: list[Tensor], number: int) -> list[Tensor]:
    return list(torch._foreach_add(tensors, number)) if tensors else []


def multiplied(tensors: list[Tensor], factor: float) -> list[Tensor]:
    return list(torch._foreach_mul(tensors, factor)) if tensors else []


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
