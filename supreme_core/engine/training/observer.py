"""Training callbacks: they look at the model, or change its weights, on the way."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Observer:
    """Callback of a training, which does nothing; a subclass acts after a step or an epoch.

    It acts alike on every rank. After an epoch the model computes as it does in evaluation, and
    what the observer does then counts for no cost.

    memory: all that it keeps from one epoch for a later one, on the CPU. Checkpoints hold it, so
    that a training that goes on goes on with the same observers.
    """

    memory: dict[str, Tensor] = field(default_factory=dict, init=False)

    def after_step(self) -> None:
        """Called after the optimiser has moved the weights."""

    def after_epoch(self) -> None:
        """Called after the last step of each epoch."""


@dataclass
class Frozen(Observer):
    """Gives some weights their values back after each step.

    Momentum and weight decay would move a weight even without a gradient.
    masks: which entries of each parameter keep the value that stands in `values`.
    """

    parameters: list[nn.Parameter]
    values: list[Tensor]
    masks: list[Tensor]

    @torch.no_grad()
    def after_step(self) -> None:
        for parameter, value, mask in zip(self.parameters, self.values, self.masks, strict=True):
            torch.where(mask, value, parameter, out=parameter)
