"""The fast alternative to the tree: torch's DistributedDataParallel.

Gradients travel while the backward pass still runs, and are added in an order that depends on the
number of ranks, so that number is part of what a result means.
"""

from contextlib import nullcontext

import torch
from torch.nn.parallel import DistributedDataParallel

from supreme_core.engine.images.randomness import seed_generators
from supreme_core.engine.networks import passes
from supreme_core.engine.training.batch_norm import single_values
from supreme_core.engine.training.gradients import (
    Gradients,
    Job,
    OptimizerStep,
    StepOutcome,
    copy_all,
    running_statistics,
)
from supreme_core.randomness import streams


class DataParallelGradients(Gradients):
    """Each rank computes one part of the batch; torch averages over ranks.

    BatchNorm sees the part of its rank. After each step every rank has the running statistics of
    rank 0, as DistributedDataParallel would give them before the next one.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._parallel = DistributedDataParallel(job.model)
        self._statistics = running_statistics(job.model)

    def __call__(self, step: OptimizerStep) -> StepOutcome:
        job, ranks = self._job, self._job.reduction.ranks
        ((number, batch),) = job.parts(step)
        seed_generators(streams.derive(step.dropout, number), ranks.device)
        counted = nullcontext() if batch else passes.uncounted()
        with single_values(allowed=step.is_last), counted:
            total, right = job.looked_at(self._parallel, batch or job.stand_in(step))
        is_counted = float(batch is not None)
        share = total * (is_counted / step.size)
        torch.autograd.backward(job.scale(share * ranks.size))
        self._spread_statistics()
        return StepOutcome(*job.reduction.sum([[share.detach(), right * is_counted]]))

    def _spread_statistics(self) -> None:
        statistics = self._statistics
        if statistics:
            flat = torch.cat([statistic.flatten() for statistic in statistics])
            flat = self._job.reduction.ranks.of_main(flat)
            sizes = [statistic.numel() for statistic in statistics]
            copy_all(statistics, list(torch.split(flat, sizes)))
