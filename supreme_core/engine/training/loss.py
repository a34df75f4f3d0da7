"""Per-sample losses."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from supreme_core.engine.images.samples import Batch

Loss = Callable[[nn.Module, Batch], Tensor]
"""(model, batch) to the loss of each sample, (n,)."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def squared_output(model: nn.Module, batch: Batch) -> Tensor:
    """‖f(x)‖₂² of each sample, (n,), for which no label is needed."""
    logits: Tensor = model(batch.images)
    return logits.square().sum(dim=1)


def divergence(target: Tensor, logits: Tensor, *, temperature: float = 1) -> Tensor:
    """KL(softmax(target / T) ‖ softmax(logits / T)) of each row, (n,), summed over classes."""
    target = functional.log_softmax(target / temperature, dim=1)
    answer = functional.log_softmax(logits / temperature, dim=1)
    return functional.kl_div(answer, target, reduction="none", log_target=True).sum(dim=1)
