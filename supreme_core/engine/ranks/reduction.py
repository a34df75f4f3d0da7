"""Sums over the micro-batches of a step, the same bits on 1, 2, 4, 8 ranks.

A batch is split into V micro-batches, V part of the recipe and a power of two. Each rank computes
V / ranks consecutive ones and adds them in an aligned binary tree; the tree's upper levels go over
ranks. Whoever computes a leaf, the additions are the same ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.errors import SpecError

Leaf = list[Tensor]
"""Contribution of one micro-batch; every leaf has the same shapes, and strides."""


@dataclass(frozen=True)
class Reduction:
    ranks: Ranks
    micro_batches: int

    def __post_init__(self) -> None:
        if self.micro_batches % self.ranks.size:
            raise SpecError(
                f"training.microBatches is {self.micro_batches}, which {self.ranks.size} ranks do"
                " not divide; let the number of ranks be a power of two, and microBatches at least"
                " as large"
            )

    def parts(self, positions: Tensor) -> Iterator[tuple[int, Tensor]]:
        """This rank's micro-batches of a batch, numbered; sizes do not depend on the ranks."""
        n, each = len(positions), self.micro_batches // self.ranks.size
        for v in range(self.ranks.rank * each, (self.ranks.rank + 1) * each):
            yield v, positions[n * v // self.micro_batches : n * (v + 1) // self.micro_batches]

    def sum(self, leaves: Iterable[Leaf]) -> Leaf:
        """The sum over all micro-batches; `leaves` are this rank's, in order, and consumed."""
        return self._over_ranks(_tree_sum(leaves))

    def _over_ranks(self, local: Leaf) -> Leaf:
        if self.ranks.size == 1:
            return local
        orders = [_memory_order(tensor) for tensor in local]
        flat = self.ranks.tree_sum(
            torch.cat(
                [
                    tensor.permute(order).reshape(-1)
                    for tensor, order in zip(local, orders, strict=True)
                ]
            )
        )
        parts = torch.split(flat, [tensor.numel() for tensor in local])
        return [
            part.view([tensor.shape[axis] for axis in order]).permute(_inverse(order))
            for part, tensor, order in zip(parts, local, orders, strict=True)
        ]


def _memory_order(tensor: Tensor) -> list[int]:
    """Axes of a tensor, the one with the longest strides first.

    Flattened in this order a tensor need not be copied, and what comes back has the strides that it
    would have on one rank: they decide the order in which the norm of a gradient is added up.
    """
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: -strides[axis])


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _tree_sum(leaves: Iterable[Leaf]) -> Leaf:
    """Aligned pairwise sum of a power of two of leaves, at most log2 + 1 of them alive at once."""
    waiting: list[tuple[int, Leaf]] = []
    for leaf in leaves:
        level, total = 0, leaf
        while waiting and waiting[-1][0] == level:
            _, left = waiting.pop()
            total = _add(left, total)
            level += 1
        waiting.append((level, total))
    ((_, total),) = waiting
    return total


def _add(left: Sequence[Tensor], right: Sequence[Tensor]) -> Leaf:
    # Not in place: autograd gives two parameters that are added up one and the same gradient.
    return list(torch._foreach_add(list(left), list(right)))
