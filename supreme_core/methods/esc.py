"""ESC: take from the features the directions in which the forget set lies."""

import torch
from pydantic import Field

from supreme_core.engine.head import head_inputs, linear_head
from supreme_core.engine.task import UnlearningTask
from supreme_core.errors import MethodFailed
from supreme_core.registry import Params, method


class EscParams(Params):
    fraction: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Part of the features' directions that is removed; at least one above 0.",
    )


@method(paper="arXiv:2504.02199", forgets=("classes",), needs=("linear_head",), iterative=False)
def esc(task: UnlearningTask, params: EscParams) -> None:
    """Project the forget set's leading directions out of what goes into the head (Lee et al. 2025).

    The directions are the leading right singular vectors V of the features of the forget set, one
    row a sample. The projection stands before the head: W ← W (I - V Vᵀ). Nothing is trained. The
    authors tune the fraction for each network.
    """
    head = linear_head(task.model)
    removed = round(params.fraction * head.in_features)
    if params.fraction > 0:
        removed = max(removed, 1)
    features = head_inputs(task, task.forget)
    if not features.isfinite().all():
        raise MethodFailed("the features of the forget set are not finite")
    _, _, directions = torch.linalg.svd(features, full_matrices=False)
    leading = directions[:removed]
    with torch.no_grad():
        weight = head.weight.cpu().double()
        head.weight.sub_((weight @ leading.mT @ leading).to(head.weight))
