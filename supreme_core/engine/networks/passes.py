"""Passes of samples through networks: a measure of work that no machine and no clock decides.

A forward pass of one sample is one pass, and a backward pass two, as it takes about twice as long.
The count only grows, like that of a road; whoever wants to know what a piece of work took looks at
it before and after. Each rank counts its own samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from torch import Tensor, nn

from supreme_core.errors import MethodFailed
from supreme_core.tuning.budget import BACKWARD, FORWARD


class OverBudget(MethodFailed):
    """A method took more passes than it may."""


class _Odometer:
    """State of the count.  limit: of `count`, beyond which OverBudget is raised."""

    count = 0
    limit = inf
    is_paused = False

    def add(self, passes: int) -> None:
        self.count += passes
        if self.count > self.limit:
            raise OverBudget


_odometer = _Odometer()


def so_far() -> int:
    """Passes of this process until now."""
    return _odometer.count


def add(passes: int) -> None:
    """Count passes that nobody else does."""
    _odometer.add(passes)


def counted(network: nn.Module) -> nn.Module:
    """The same network, whose passes are counted from now on, as are those of copies of it."""
    network.register_forward_hook(_after_forward)
    return network


def _after_forward(network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if _odometer.is_paused:
        return
    samples = len(inputs[0])
    _odometer.add(FORWARD * samples)
    if isinstance(output, Tensor) and output.requires_grad:
        # Counted as it happens: a gradient may be asked for twice, or never.
        output.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: _odometer.add(BACKWARD * samples)
        )


@contextmanager
def uncounted() -> Iterator[None]:
    """Inside, networks count nothing: where they see one sample of many, and who calls them knows
    how many there are."""
    before, _odometer.is_paused = _odometer.is_paused, True
    try:
        yield
    finally:
        _odometer.is_paused = before


@contextmanager
def limited(passes: float) -> Iterator[None]:
    """OverBudget is raised inside as soon as more passes than these were made in the block."""
    before, _odometer.limit = _odometer.limit, _odometer.count + passes
    try:
        yield
    finally:
        _odometer.limit = before
