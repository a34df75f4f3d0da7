"""The one training loop: originals, retrained models and most methods go through it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor, nn, optim
from torch.amp import GradScaler

from supreme_core.engine.images.randomness import kept_global_generator
from supreme_core.engine.images.samples import Augment, Samples
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.training.checkpoint import Checkpoints, State
from supreme_core.engine.training.curve import TrainingCurve
from supreme_core.engine.training.gradients import OptimizerStep
from supreme_core.engine.training.loss import Loss, cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.precision import computing_in, evaluating, loss_scaler
from supreme_core.engine.training.sample_order import Order, shuffled
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams


class Report(Protocol):
    """Told after each step; `loss` stays on the device until somebody wants to see it.

    images: how many the step used, of all ranks; where each has a task of its own, of this one.
    epoch: which one the step is in, from 1, and how many there are.
    """

    def __call__(
        self,
        *,
        done: int,
        total: int,
        loss: Tensor,
        images: int,
        epoch: tuple[int, int] | None = None,
    ) -> None: ...


def unreported(
    *, done: int, total: int, loss: Tensor, images: int, epoch: tuple[int, int] | None = None
) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Settings of a training.

    optimizer: made for the model's parameters.  max_gradient_norm: a longer gradient is shortened
    to this Euclidean length.  rate: factor of the learning rate at an epoch, with the fraction of
    it that is done.  augment: the augmentation of an epoch, None for none.  order: None for all
    samples at random in batches of `batch_size`.  training: otherwise layers act as they do in
    predictions, so that BatchNorm uses and keeps the statistics that it has.

    is_enough: told after each step how many are done; the training ends where it says so.

    before_step: told the epoch as `rate` is, may change the gradients that the optimiser will use,
    as a term on the weights does. What it does is a function of the weights, the gradients and the
    epoch, the same on every rank.  observers: go along, and may change the weights, as a mask does.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[list[nn.Parameter]], optim.Optimizer]
    max_gradient_norm: float | None = None
    rate: Callable[[float], float] = lambda epoch: 1.0
    augment: Callable[[int], Augment] | None = None
    order: Order | None = None
    training: bool = True
    before_step: Callable[[float], None] | None = None
    is_enough: Callable[[int], bool] | None = None
    observers: Sequence[Observer] = ()


@dataclass(frozen=True, kw_only=True)
class _Updates:
    """Updates of a model's weights by their gradients, one for each step.

    base_rates: of the optimizer's groups of parameters, at a factor of 1.
    """

    how: Fit
    parameters: list[nn.Parameter]
    optimizer: optim.Optimizer
    scaler: GradScaler
    base_rates: Sequence[float]

    @classmethod
    def of(cls, model: nn.Module, how: Fit, numerics: NumericsPolicy) -> Self:
        parameters = trainable(model)
        optimizer = how.optimizer(parameters)
        return cls(
            how=how,
            parameters=parameters,
            optimizer=optimizer,
            scaler=loss_scaler(numerics.precision, numerics.reduction.ranks.device),
            base_rates=[group["lr"] for group in optimizer.param_groups],
        )

    def prepare(self, epoch: float) -> float:
        """Forget the gradients of the step before and set the rate, which is returned.

        epoch: with the fraction of it that is done.
        """
        groups, factor = self.optimizer.param_groups, self.how.rate(epoch)
        for group, rate in zip(groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        first: float = groups[0]["lr"]
        return first

    def apply(self, epoch: float) -> None:
        """Change the weights by the gradients that are there.  epoch: as in `prepare`."""
        how = self.how
        self.scaler.unscale_(self.optimizer)  # before clipping: the limit is for true gradients
        if how.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, how.max_gradient_norm)
        if how.before_step:
            how.before_step(epoch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for observer in how.observers:
            observer.after_step()


def fit(
    model: nn.Module,
    samples: Samples,
    how: Fit,
    *,
    seed: int,
    numerics: NumericsPolicy,
    report: Report,
    loss: Loss = cross_entropy,
    checkpoints: Checkpoints | None = None,
    name: str = "training",
) -> None:
    """Train `model` in place. Order, augmentation and dropout are functions of `seed` alone.

    Raises MethodFailed where the loss stops being finite, and Terminated, with a checkpoint
    written, where the process was told to stop.  name: of its curve, which `checkpoints` gets.
    """
    ranks = numerics.reduction.ranks
    checkpoints = checkpoints or Checkpoints.none(ranks)
    updates = _Updates.of(model, how, numerics)
    curve = TrainingCurve(name=name)
    checkpoints.curves.append(curve)
    state = State(model, updates.optimizer, updates.scaler, [*how.observers, curve])
    order = how.order or shuffled(len(samples), how.batch_size)
    steps = len(order(0, streams.derive(seed, "order", 0)))
    with (
        in_mode(model, training=how.training),
        computing_in(numerics.precision, model, ranks.device),
        kept_global_generator(ranks.device),
        checkpoints.interruption.deferred(),  # half a step is no state: see checkpoints.step
    ):
        gradients = numerics.gradients(
            model, samples, loss, updates.scaler.scale, steps=how.epochs * steps
        )
        resumed = checkpoints.begin(state)
        for epoch in range(resumed // max(steps, 1), how.epochs):
            augment = how.augment(epoch) if how.augment else None
            finite = torch.ones((), dtype=torch.bool, device=ranks.device)
            batches = order(epoch, streams.derive(seed, "order", epoch))
            # Each step is told the batch after it, whose images are fetched meanwhile.
            for step, (positions, following) in enumerate(pairwise([*batches, batches[0][:0]])):
                done = epoch * steps + step + 1
                if done <= resumed:  # in the checkpoint; later steps depend on their numbers only
                    continue
                rate = updates.prepare(epoch + step / steps)
                with passes.shared(ranks):
                    found = gradients(
                        OptimizerStep(
                            positions=positions,
                            following=following,
                            augment=augment,
                            dropout=streams.derive(seed, "dropout", epoch, step),
                        )
                    )
                curve.add(
                    epoch=epoch + 1,
                    rate=rate,
                    loss=found.loss,
                    counts=found.counts,
                    samples=len(positions),
                )
                updates.apply(epoch + step / steps)
                finite &= found.loss.isfinite()
                report(
                    done=done,
                    total=how.epochs * steps,
                    loss=found.loss,
                    images=len(positions),
                    epoch=(epoch + 1, how.epochs),
                )
                # Before the checkpoint, whose state includes what observers found in the epoch.
                if step + 1 == steps and how.observers:
                    with checkpoints.meter.paused(), evaluating(numerics.precision, model):
                        for observer in how.observers:
                            observer.after_epoch()
                checkpoints.step(state, done, gradients.prove)
                if how.is_enough and how.is_enough(done):
                    gradients.prove()
                    return
            gradients.prove()
            if not finite:  # the one point of an epoch at which the device is waited for
                raise MethodFailed(f"the loss is not finite in epoch {epoch + 1} of {how.epochs}")
