"""Per-sample losses."""

from collections.abc import Callable
from weakref import WeakSet

from torch import Tensor, nn
from torch.nn import functional

from supreme_core.engine.images.samples import Batch

Loss = Callable[[nn.Module, Batch], Tensor]
"""(model, batch) to the loss of each sample, (n,)."""


_steady: WeakSet[Loss] = WeakSet()


def steady(loss: Loss) -> Loss:
    """The same loss, of which it is now known that it does the same in each step.

    All that differs lies in the tensors of the batch and of networks; others that it reads stay
    where they are as long as it is used, and it draws from no generator but torch's global one of
    the device. So a step with it may be recorded once and replayed.
    """
    _steady.add(loss)
    return loss


def is_steady(loss: Loss) -> bool:
    return loss in _steady


@steady
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
