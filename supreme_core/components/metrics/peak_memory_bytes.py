"""Largest memory that the unlearning needed at one time."""

from supreme_core.registry import NoParams, metric
from supreme_core.scoring.evaluation import Evaluation


@metric(
    group="cost",
    unit="bytes",
    low=0.0,
    direction="lower",
    measured=True,
    references=("retrained",),
    source="measured by SUPREME",
)
def peak_memory_bytes(evaluation: Evaluation, params: NoParams) -> float | None:
    """Peak memory of the method on its fullest rank.

    Allocated device memory on CUDA, resident memory of the process elsewhere; without evaluation.
    Retrained's value is that of its training; Original has none. Bytes, from 0; lower is cheaper.
    """
    return None if evaluation.cost is None else float(evaluation.cost.peak_memory_bytes)
