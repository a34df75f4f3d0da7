"""Linear CKA of a model's features with those of Retrained and of Original."""

import torch
from torch import Tensor

from supreme_core.engine.toolbox.probe_task import ProbeTask
from supreme_core.registry import NoParams, probe

CHUNK_ROWS = 8192
"""Samples whose features are in memory in float64 at one time."""


@probe(source="Kornblith et al. 2019, arXiv:1905.00414", needs=("linear_head",))
def feature_similarity(task: ProbeTask, params: NoParams) -> dict[str, float]:
    """Linear CKA with the other models, on the forget set and on the test set.

    What goes into the head, in eval mode: X (n, d) of the model, Y (n, d') of the other, columns
    centred. CKA = |YᵀX|² / (|XᵀX| |YᵀY|) with Frobenius norms, in float64. NaN where the features
    of a model do not vary.
    """
    others = {"retrained": task.retrained, "original": task.original}
    return {
        f"{on}/{name}": linear_cka(task.subject.features(on), other.features(on))
        for on in ("forget", "test")
        for name, other in others.items()
    }


def linear_cka(here: Tensor, there: Tensor) -> float:
    """Similarity in [0, 1] of features (n, d) and (n, d') of the same samples."""
    here_mean, there_mean = (each.double().mean(dim=0) for each in (here, there))
    cross = here.new_zeros(here.shape[1], there.shape[1], dtype=torch.float64)
    own = here.new_zeros(here.shape[1], here.shape[1], dtype=torch.float64)
    other = here.new_zeros(there.shape[1], there.shape[1], dtype=torch.float64)
    chunks = zip(torch.split(here, CHUNK_ROWS), torch.split(there, CHUNK_ROWS), strict=True)
    for here_rows, there_rows in chunks:
        x, y = here_rows.double() - here_mean, there_rows.double() - there_mean
        cross += x.mT @ y
        own += x.mT @ x
        other += y.mT @ y
    # Divided in this way two models with equal features give 1 exactly.
    ratio = cross.square().sum() / (own.square().sum() * other.square().sum()).sqrt()
    return min(float(ratio), 1.0) if ratio.isfinite() else float("nan")
