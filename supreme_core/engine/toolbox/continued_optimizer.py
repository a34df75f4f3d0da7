"""One optimiser for several trainings in turn."""

from collections.abc import Callable

from torch import nn, optim


def continued(
    optimizer: optim.Optimizer,
) -> Callable[[list[nn.Parameter]], optim.Optimizer]:
    """Each fit goes on with the moments that the one before left, at the rates of the beginning."""
    rates = [group["lr"] for group in optimizer.param_groups]

    def go_on(parameters: list[nn.Parameter]) -> optim.Optimizer:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return optimizer

    return go_on
