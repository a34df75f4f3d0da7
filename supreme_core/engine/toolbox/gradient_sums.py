"""The gradient of a whole set, which some methods read before they train."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from supreme_core.engine.images.samples import FIXED_BATCH_SIZE, Samples
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.networks.weights import are_finite, trainable
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.ranks.reduction import Leaf
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import Loss
from supreme_core.errors import MethodFailed


def gradient_sums(task: UnlearningTask, samples: Samples, loss: Loss) -> list[Tensor]:
    """Σ over samples of the gradient of one sample's loss, in eval mode.

    One float64 tensor for each trainable parameter (see for_float64), the same bits on every rank.
    Raises MethodFailed where one is not finite.
    """
    parameters = trainable(task.model)
    grid = torch.split(torch.arange(len(samples)), FIXED_BATCH_SIZE)
    lanes = [lane.tolist() for _, lane in task.reduction.parts(torch.arange(len(grid)))]
    mine = [grid[number] for lane in lanes for number in lane]

    def leaves() -> Iterator[Leaf]:
        batches = enumerate(samples.batches(mine), start=1)
        for lane in lanes:
            sums = [torch.zeros_like(for_float64(each), dtype=torch.float64) for each in parameters]
            for done, batch in islice(batches, len(lane)):
                losses = loss(task.model, batch)
                found = torch.autograd.grad(losses.sum(), parameters, materialize_grads=True)
                for total, gradient in zip(sums, found, strict=True):
                    total += for_float64(gradient)
                task.report(
                    done=done,
                    total=len(mine),
                    loss=losses.detach().mean(),
                    images=len(batch.ids),
                )
            yield sums

    with in_mode(task.model, training=False), passes.shared(task.ranks):
        totals = task.reduction.sum(leaves())
    if not all(are_finite(totals)):
        raise MethodFailed("the gradients of the weights are not finite")
    return totals
