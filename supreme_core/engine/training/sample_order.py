"""Order of the samples in the steps of an epoch."""

from collections.abc import Callable, Sequence
from itertools import count, islice

import torch
from torch import Tensor

from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation

Order = Callable[[int, int], Sequence[Tensor]]
"""(epoch, seed of that epoch's order) to the positions of each step's samples; every epoch of one
training has the same number of steps, and none is empty."""


def shuffled(size: int, batch_size: int) -> Order:
    """All samples at random."""

    def order(epoch: int, seed: int) -> Sequence[Tensor]:
        return torch.split(_random(size, seed), batch_size)

    return order


def one_after_other(
    first: int, second: int, *, batch_size: int, first_batch_size: int | None = None
) -> Order:
    """The first samples at random, then the others that follow them; no step has both.

    first_batch_size: of the steps of the first ones; None for `batch_size`.
    """

    def order(epoch: int, seed: int) -> Sequence[Tensor]:
        early = _random(first, streams.derive(seed, "first"))
        late = _random(second, streams.derive(seed, "second")) + first
        early_size = first_batch_size or batch_size
        return [*torch.split(early, early_size), *torch.split(late, batch_size)]

    return order


def paired(first: int, second: int, *, batch_size: int) -> Order:
    """Pair each of the second samples, once, with one of the first ones in turn.

    A step has `batch_size` of both kinds, the last one of an epoch maybe fewer, but as many of one
    as of the other. Where the first ones are used up they begin again in another order.
    """

    def order(epoch: int, seed: int) -> Sequence[Tensor]:
        rounds = (_random(first, streams.derive(seed, "first", again)) for again in count())
        partners = torch.cat(list(islice(rounds, -(-second // first))))[:second]
        others = _random(second, streams.derive(seed, "second")) + first
        pairs = torch.stack([partners, others], dim=1)
        return [pair.flatten() for pair in torch.split(pairs, batch_size)]

    return order


def _random(size: int, seed: int) -> Tensor:
    return torch.from_numpy(permutation(seed, size))
