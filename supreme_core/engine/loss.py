"""What is made small."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from supreme_core.engine.samples import Batch

Loss = Callable[[nn.Module, Batch], Tensor]
"""(model, batch) to the loss of each sample, (n,)."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")
