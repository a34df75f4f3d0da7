"""torch's BatchNorm, where a step calls for another one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.nn import functional

from supreme_core.errors import MethodFailed

NORMAL = functional.batch_norm


@contextmanager
def batch_norm_is(other: Callable[..., Tensor]) -> Iterator[None]:
    """Inside, every layer that normalises calls `other`, which has torch's arguments.

    Through torch's function rather than through layers, because layers of other libraries that fuse
    BatchNorm with something else call that function too.
    """
    functional.batch_norm = other
    try:
        yield
    finally:
        functional.batch_norm = NORMAL


@contextmanager
def single_values(*, allowed: bool) -> Iterator[None]:
    """Inside, a layer that is given one value per channel, which has no variance, is normalised
    with the running statistics, and leaves them as they are.

    One sample of a 1x1 map is such a value: what a last batch is left with. allowed: whether this
    batch may be that one; in any other every step would come to it, and MethodFailed says so.
    """

    def batch_norm(
        input: Tensor,  # noqa: A002 (torch's own names)
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if training and len(input) == 1 and input.numel() == input.shape[1]:
            if not allowed or running_mean is None:
                raise MethodFailed(
                    "BatchNorm is given one value per channel (one sample of a 1x1 map), which has"
                    " no variance; use a larger batchSize, fewer microBatches (or batchNorm: batch)"
                    " or larger images"
                )
            training = False
        return NORMAL(input, running_mean, running_var, weight, bias, training, momentum, eps)

    with batch_norm_is(batch_norm):
        yield
