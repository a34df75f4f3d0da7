"""Noise on the weights of a network, as much as costs it a share of its accuracy."""

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

LEAST: Final = 2.0**-6
MOST: Final = 2.0**6
"""Least and most noise that is tried, in root mean squares of each tensor."""

HALVINGS: Final = 6
"""Halvings of the step at which accuracy has fallen, as it may fall far at once."""


@torch.no_grad()
def add_noise(
    network: nn.Module,
    accuracy: Callable[[], float],
    *,
    loss: float,
    generator: torch.Generator,
) -> None:
    """Add Gaussian noise to all weights, in proportion to the root mean square of each tensor, with
    which accuracy is lower by `loss`.

    accuracy: of the network as it is at the moment, the same on every rank.  generator: of the CPU,
    so that the direction does not depend on the device. Where nothing lowers it, as that of a
    network which guesses, the noise is the most.
    """
    weights = list(network.parameters())
    before = [weight.clone() for weight in weights]
    noise = [
        torch.randn(weight.shape, generator=generator).to(weight) * weight.square().mean().sqrt()
        for weight in weights
    ]
    target = accuracy() - loss

    def has_fallen(scale: float) -> bool:
        for weight, without, direction in zip(weights, before, noise, strict=True):
            weight.copy_(without + scale * direction)
        return accuracy() <= target

    low, high = 0.0, LEAST
    while high < MOST and not has_fallen(high):
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if has_fallen(middle) else (middle, high)
    has_fallen(high)
