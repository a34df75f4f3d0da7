"""Importance of each weight to a loss: sums over samples of powers of its gradient, exact.

Plain autograd gives the gradient of a sum of samples; here each sample's own is needed. Where a
trial on a few samples finds the two alike, the fast way stands in for a loop over samples:

    importance_sums
      _in_batches: the trial, which chooses
        importance_by_layer    layers with a rule: one pass for a batch
        importance_by_sample   what belongs to no such layer, as a position embedding: a second
                               pass, by vmap
      importance_by_sample     the loop, where the trial finds a difference or vmap refuses
      _sums_over               sums over batches and ranks
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import torch
from torch import Tensor, nn

from supreme_core.engine.images.samples import FIXED_BATCH_SIZE, Batch, Samples
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.networks.weights import are_finite, trainable
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.ranks.reduction import Leaf, Reduction
from supreme_core.engine.toolbox.importance_by_layer import add_by_layer, regular_layers
from supreme_core.engine.toolbox.importance_by_sample import (
    CHUNK_ELEMENTS,
    Power,
    Sums,
    add_by_vmap,
    add_one_by_one,
    powered,
)
from supreme_core.engine.toolbox.importance_kinds import Importance
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.fit import Report
from supreme_core.engine.training.loss import Loss
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.system.faults import fault_of
from supreme_core.tuning.budget import TRAINING

TRIAL_SIZE = 3
"""Samples on which both ways are compared before the fast one is trusted with a model."""

Add = Callable[[nn.Module, Batch, Loss, Power, Sums], Tensor]
"""Adds each sample's share to the sums; gives the mean loss."""


def mean_importances(
    task: UnlearningTask, importance: Importance
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean importances over the forget set, and over the whole training set.

    The sum over the training set is that of its two parts: one pass over all of it would have other
    batches, which decide the last bits.
    """
    forget, retain = _sums_of_parts(task, importance)
    count = len(task.forget) + len(task.retain)
    everything = [(of_f + of_r) / count for of_f, of_r in zip(forget, retain, strict=True)]
    return [total / len(task.forget) for total in forget], everything


def importances_of_parts(
    task: UnlearningTask, importance: Importance
) -> tuple[list[Tensor], list[Tensor]]:
    """Mean importances over the forget set, and over the retain set alone."""
    forget, retain = _sums_of_parts(task, importance)
    return (
        [total / len(task.forget) for total in forget],
        [total / len(task.retain) for total in retain],
    )


def _sums_of_parts(
    task: UnlearningTask, importance: Importance
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Sums over the forget set and over the retain set; those that the task knows are not computed
    again."""
    known = task.importances.get(importance.name)
    if known is not None:
        return known["forget"], known["retain"]
    forget, retain = (
        importance_sums(
            task.model,
            samples,
            loss=importance.loss,
            power=importance.power,
            reduction=task.reduction,
            report=task.report,
        )
        for samples in (task.forget, task.retain)
    )
    return forget, retain


def batch_importances(
    task: UnlearningTask, importance: Importance, *, batch_size: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Importances by gradients of batches' mean losses, as the authors of SSD compute them.

    Batches are drawn at random, of the forget set and of the whole training set; the last one is
    smaller and counts like the others.
    """
    found = []
    for address, samples in (("forget", task.forget), ("all", task.forget.join(task.retain))):
        order = permutation(streams.derive(task.seed, "batches", address), len(samples))
        grid = torch.split(torch.from_numpy(order), batch_size)
        sums = _sums_over(
            task.model,
            samples,
            grid,
            _add_batch,
            loss=importance.loss,
            power=importance.power,
            reduction=task.reduction,
            report=task.report,
        )
        found.append([total / len(grid) for total in sums])
    forget, everything = found
    return forget, everything


def importance_sums(
    model: nn.Module,
    samples: Samples,
    *,
    loss: Loss,
    power: Power,
    reduction: Reduction,
    report: Report,
) -> list[Tensor]:
    """Σ over samples of g² or |g|, g the gradient of one sample's loss in eval mode.

    One float64 tensor for each trainable parameter, the same bits on every rank. The model is left
    as it was. Batches of a fixed size are spread over the micro-batches of the reduction.

    Raises MethodFailed where a sum is not finite.
    """
    with in_mode(model, training=False), passes.uncounted():
        trial = samples.batch(torch.arange(min(TRIAL_SIZE, len(samples))))
        add = _in_batches(model, trial, loss) or add_one_by_one
    return _sums_over(
        model,
        samples,
        torch.split(torch.arange(len(samples)), FIXED_BATCH_SIZE),
        add,
        loss=loss,
        power=power,
        reduction=reduction,
        report=report,
    )


def _sums_over(
    model: nn.Module,
    samples: Samples,
    grid: Sequence[Tensor],
    add: Add,
    *,
    loss: Loss,
    power: Power,
    reduction: Reduction,
    report: Report,
) -> list[Tensor]:
    """Sum over ranks of what `add` gives for the batches whose positions are in the grid."""
    lanes = [lane.tolist() for _, lane in reduction.parts(torch.arange(len(grid)))]
    mine = [grid[number] for lane in lanes for number in lane]

    def leaves() -> Iterator[Leaf]:
        batches = enumerate(samples.batches(mine), start=1)
        for lane in lanes:
            sums = _zeros(model)
            for done, batch in islice(batches, len(lane)):
                with passes.uncounted():  # a network sees one sample at a time, whatever the chunk
                    mean = add(model, batch, loss, power, sums)
                passes.add(TRAINING * len(batch.ids))
                report(done=done, total=len(mine), loss=mean, images=len(mine[done - 1]))
            yield list(sums.values())

    with in_mode(model, training=False), passes.shared(reduction.ranks):
        totals = reduction.sum(leaves())
    if not all(are_finite(totals)):
        raise MethodFailed("the importances of the weights are not finite")
    return totals


def _in_batches(model: nn.Module, batch: Batch, loss: Loss) -> Add | None:
    """The fast way, None where it does not give what a loop over single samples gives.

    It is tried on a few samples. Not every model can be put through vmap, and a layer may be used
    beside its own call, which no hook sees. Nothing else decides: an error that has another cause,
    such as a lack of memory, is raised, since the two ways add in other orders.
    """
    layers = regular_layers(model, batch, loss)
    theirs = {parameter for layer in layers for parameter in layer.parameters(recurse=False)}
    rest = [name for name, each in model.named_parameters() if each.requires_grad]
    rest = [name for name in rest if model.get_parameter(name) not in theirs]
    if TRIAL_SIZE * sum(model.get_parameter(name).numel() for name in rest) > CHUNK_ELEMENTS:
        return None  # so few samples would go at a time that nothing is gained

    def add(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
        if rest:
            add_by_vmap(model, rest, batch, loss, power, sums)
        return add_by_layer(model, layers, batch, loss, power, sums)

    fast, one_by_one = _zeros(model), _zeros(model)
    try:
        add(model, batch, loss, "absolute", fast)
    except (RuntimeError, ValueError) as refused:
        if not (rest and _is_refusal(refused)):
            raise
        return None
    add_one_by_one(model, batch, loss, "absolute", one_by_one)
    truth = torch.stack([total.mean() for total in one_by_one.values()])
    error = [(fast[parameter] - total).abs().mean() for parameter, total in one_by_one.items()]
    # A gradient that is zero but for rounding may differ by all of itself, hence the second term.
    exact = bool((torch.stack(error) <= 0.01 * truth + 1e-5 * truth.max()).all())
    return add if exact else None


REFUSALS: Final = re.compile(
    r"vmap|functorch|torch\.func\b|batching rule|data pointer", re.IGNORECASE
)
"""Words of torch for what vmap cannot do with a model; a kernel of its own has no tensor there."""


def _is_refusal(error: Exception) -> bool:
    """Return whether vmap says that it cannot do what a model asks for, on any machine."""
    if fault_of(error):
        return False
    return isinstance(error, NotImplementedError | ValueError) or bool(REFUSALS.search(str(error)))


def _add_batch(model: nn.Module, batch: Batch, loss: Loss, power: Power, sums: Sums) -> Tensor:
    """Add that of the batch's mean loss to `sums`; gives the mean loss."""
    mean = loss(model, batch).mean()
    gradients = torch.autograd.grad(mean, list(sums), materialize_grads=True)
    for total, gradient in zip(sums.values(), gradients, strict=True):
        total += powered(for_float64(gradient).to(torch.float64), power)
    return mean.detach()


def _zeros(model: nn.Module) -> Sums:
    return {
        parameter: torch.zeros_like(
            for_float64(parameter), dtype=torch.float64, memory_format=torch.contiguous_format
        )
        for parameter in trainable(model)
    }
