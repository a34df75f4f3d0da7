"""Passes of samples through networks: a measure of work that no machine and no clock decides.

A forward pass of one sample is one pass, and a backward pass two, as it takes about twice as long.
The count only grows, like that of a road; whoever wants to know what a piece of work took looks at
it before and after. Most work is done by every rank alike and counts once; where each rank has
samples of its own, `shared` says so, and theirs are added up. So the number of ranks is not in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

from torch import Tensor, nn

from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import MethodFailed
from supreme_core.tuning.budget import BACKWARD, FORWARD


class OverBudget(MethodFailed):
    """A method took more passes than it may."""


@dataclass(frozen=True)
class Passes:
    """Passes that this process knows of.

    alike: of all ranks together.  own: of samples that only this rank has seen.
    """

    alike: int = 0
    own: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.alike + other.alike, self.own + other.own)

    def __sub__(self, other: "Passes") -> "Passes":
        return Passes(self.alike - other.alike, self.own - other.own)

    def over(self, ranks: Ranks) -> int:
        """Passes of all ranks, which meet here."""
        return self.alike + int(sum(ranks.each(float(self.own))))

    def estimated(self, ranks: Ranks) -> int:
        """Passes of all ranks, if the others have seen as many samples as this one."""
        return self.alike + self.own * ranks.size


class _Odometer:
    """State of the count.  limit: of what is made alike, beyond which OverBudget is raised."""

    made = Passes()
    limit = inf
    is_paused = False
    is_shared = False

    def add(self, passes: int) -> None:
        if self.is_shared:
            self.made += Passes(own=passes)
        else:
            self.made += Passes(alike=passes)
            self.check()

    def check(self) -> None:
        if self.made.alike > self.limit:
            raise OverBudget


_odometer = _Odometer()


def so_far() -> Passes:
    """Passes of this process until now."""
    return _odometer.made


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
def shared(ranks: Ranks) -> Iterator[None]:
    """Inside, each rank sees samples of its own.

    Where a limit is watched the ranks meet afterwards, so that all of them end at the same place,
    the one at which a process alone ends.
    """
    if _odometer.is_shared:
        yield
        return
    before, _odometer.is_shared = _odometer.made.own, True
    try:
        yield
    finally:
        _odometer.is_shared = False
    if _odometer.limit < inf:
        mine = Passes(own=_odometer.made.own - before)
        _odometer.made += Passes(alike=mine.over(ranks)) - mine
        _odometer.check()


@contextmanager
def limited(passes: float) -> Iterator[None]:
    """OverBudget is raised inside as soon as more passes than these were made in the block."""
    before, _odometer.limit = _odometer.limit, _odometer.made.alike + passes
    try:
        _odometer.check()
        yield
        _odometer.check()
    finally:
        _odometer.limit = before


def count_instead(again: Passes, earlier: int) -> None:
    """Let a limit count what an interrupted attempt made, `earlier`, in place of what was made
    again of it."""
    _odometer.limit += again.alike - earlier
