"""Influence unlearning: one Newton step away from the forget set."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.toolbox.gradient_sums import gradient_sums
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params, method


class IuParams(Params):
    LATER: ClassVar = ("order",)

    alpha: float = Field(0.2, ge=0, description="α: length of the step; 1 is a whole one.")
    samples: int = Field(
        1000, ge=2, description="Most retained samples by which the curvature is estimated."
    )
    order: Literal["random", "dataset"] = Field(
        "random",
        description="Choice of the retained samples for the curvature: drawn at random, or the"
        " first ones of the dataset, as in the authors' code, which passes two more than it"
        " counts.",
    )


@method(
    paper="arXiv:2304.04934",
    needs=("retain",),
    iterative=False,
    trains=False,
    search={"alpha": {"log": [0.01, 100]}},
    search_source="[1, 20] and [1, 100] of two papers, and the 0.2 of their code",
)
def iu(task: UnlearningTask, params: IuParams) -> None:
    """Undo the influence of the forget set by an approximate Newton step (Jia et al. 2023).

    θ ← θ + α F⁻¹ v, v = (Σ_F ∇CE - |F| / |R| Σ_R ∇CE) / |D|. F⁻¹ v is approximated as in the
    authors' code, sample by sample of the retain set, one after the other: with g the gradient of
    each and N their number, k ← k - (k·g) / (N + o·g) o and o ← o - (o·g) / (N + o·g) o, from k = v
    and o = the first g. That code goes through the retain set in the order of the dataset, where
    one class may come before the next, has N = 1000 however many samples there are, and stops
    after 1002 of them: `order: dataset`; for ImageNet it has N = 300,000. The authors take every α
    from a search.
    """
    of_forget = _flat(gradient_sums(task, task.forget, cross_entropy))
    of_retain = _flat(gradient_sums(task, task.retain, cross_entropy))
    forget, retain = len(task.forget), len(task.retain)
    direction = (of_forget - forget / retain * of_retain) / (forget + retain)
    step = params.alpha * _solved(task, direction, params)
    if not step.isfinite().all():
        raise MethodFailed("the step is not finite")
    parameters = trainable(task.model)
    parts = torch.split(step, [parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.add_(part.view(parameter.shape).to(parameter))


def _solved(task: UnlearningTask, direction: Tensor, params: IuParams) -> Tensor:
    """Every rank computes it for itself: each step needs the one before."""
    parameters = trainable(task.model)
    chosen, counted = _chosen(task, params)
    solved, running = direction.clone(), torch.zeros_like(direction)
    task.model.eval()
    for number, batch in enumerate(task.retain.batches(torch.split(chosen, 1)), start=1):
        loss = cross_entropy(task.model, batch).sum()
        found = torch.autograd.grad(loss, parameters, materialize_grads=True)
        gradient = _flat([for_float64(each).double() for each in found])
        if number == 1:
            running = gradient
        else:
            divisor = counted + running @ gradient
            solved -= (solved @ gradient) / divisor * running
            running = running - (running @ gradient) / divisor * running
        task.report(done=number, total=len(chosen), loss=loss.detach(), images=1)
    return solved


def _chosen(task: UnlearningTask, params: IuParams) -> tuple[Tensor, int]:
    """Positions in the retain set, in their order, and N."""
    if params.order == "dataset":
        return torch.arange(min(params.samples + 2, len(task.retain))), params.samples
    order = permutation(streams.derive(task.seed, "retain subset"), len(task.retain))
    chosen = torch.from_numpy(order[: params.samples])
    return chosen, len(chosen)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])
