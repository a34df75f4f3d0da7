"""Numerics of a step: the same in the trainings of a seed and in its methods."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from supreme_core.api.v1alpha1 import Precision, Training
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.data_parallel import DataParallelGradients
from supreme_core.engine.training.gradients import (
    EagerLeaves,
    Gradients,
    Job,
    MicroBatchGradients,
    batch_norms,
)
from supreme_core.engine.training.graphs import GraphedLeaves, NewStepGraph, graphs_on
from supreme_core.engine.training.loss import Loss
from supreme_core.engine.training.precision import check_precision
from supreme_core.engine.training.whole_batch import WholeBatchGradients
from supreme_core.errors import SpecError


@dataclass(frozen=True)
class NumericsPolicy:
    """Precision, order of additions and BatchNorm of one training.

    reduction: who adds what.  precision: of forward and backward passes in trainings.  batch_norm:
    what BatchNorm takes its statistics of.  overlapped: gradients are added by torch while the
    backward pass runs, in an order that depends on the ranks.  graphs: steps of a training are
    replayed as such, None for operation by operation; no bit depends on it.
    """

    reduction: Reduction
    precision: Precision = "fp32"
    batch_norm: Literal["micro_batch", "batch"] = "micro_batch"
    overlapped: bool = False
    graphs: Callable[[], NewStepGraph] | None = None

    @classmethod
    def of(cls, training: Training, ranks: Ranks) -> "NumericsPolicy":
        """SpecError where the ranks or their device cannot compute so."""
        check_precision(training.precision, ranks.device)
        _check_batch_norm(training, ranks)
        overlapped = training.reduction == "ddp"
        return cls(
            # Sums that are no step's gradients, such as importances, go through the tree even so.
            Reduction(ranks, ranks.size if overlapped else training.micro_batches),
            training.precision,
            training.batch_norm,
            overlapped,
            graphs_on(ranks.device, os.environ),
        )

    def gradients(
        self,
        model: nn.Module,
        samples: Samples,
        loss: Loss,
        scale: Callable[[Tensor], Tensor],
        *,
        steps: int,
    ) -> Gradients:
        """The way to compute gradients.

        scale: what the loss is to be multiplied by before.  steps: of the training.
        """
        job = Job(model, samples, loss, self.reduction, scale)
        if self.overlapped and self.reduction.ranks.size > 1:
            return DataParallelGradients(job)
        if self.batch_norm == "batch" and self.reduction.micro_batches > 1 and batch_norms(model):
            return WholeBatchGradients(job)
        leaves = EagerLeaves(job)
        if self.graphs:
            return MicroBatchGradients(job, GraphedLeaves(leaves, self.graphs(), steps))
        return MicroBatchGradients(job, leaves)


def _check_batch_norm(training: Training, ranks: Ranks) -> None:
    is_whole = training.batch_norm == "batch" and training.micro_batches > 1
    if is_whole and ranks.device.type == "mps":
        raise SpecError(
            "spec.training.batchNorm is 'batch', whose statistics are float64, which Apple's GPUs"
            " (mps) do not have; use 'micro_batch', or --device cpu"
        )
