"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable

from pydantic import Field
from torch import nn, optim

from supreme_core.registry import Params, optimizer


class SgdParams(Params):
    lr: float = Field(0.1, gt=0, description="Learning rate before the schedule.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty, added to the gradient.")
    nesterov: bool = Field(False, description="Nesterov's form of momentum.")


@optimizer()
def sgd(parameters: Iterable[nn.Parameter], params: SgdParams) -> optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return optim.SGD(
        parameters,
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        nesterov=params.nesterov,
    )
