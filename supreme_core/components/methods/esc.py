"""ESC: take from the features the directions in which the forget set lies."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supreme_core.engine.toolbox.head import head_inputs, linear_head
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.registry import Params, method


class EscParams(Params):
    variant: Literal["leading", "trained"] = Field(
        "leading",
        description="Part of the features that is removed: the leading directions, or what a mask"
        " that is trained finds in them (ESC-T).",
    )
    fraction: float = Field(
        0.015,
        ge=0,
        le=1,
        description="Part of the features' directions that is removed, rounded down, but at least"
        " one above 0; of the variant leading.",
    )
    epochs: int = Field(50, ge=0, description="Most passes of the mask over the forget set.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of the mask.")
    batch_size: int = Field(64, ge=1, description="Forgotten samples of one step of the mask.")
    threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Value above which an entry of the mask becomes 1 in the end; others become 0.",
    )


@method(
    version=2,
    paper="arXiv:2504.02199",
    forgets=("classes",),
    needs=("linear_head",),
    iterative=False,
    trains=False,
    search={"fraction": {"log": [0.002, 0.3]}},
    search_source="around the value of the authors' code",
)
def esc(task: UnlearningTask, params: EscParams) -> None:
    """Project the forget set's leading directions out of what goes into the head (Lee et al. 2025).

    The directions are the right singular vectors V of the features of the forget set, one row a
    sample, and the projection stands before the head: W ← W (I - V Vᵀ) with the leading ones.
    Nothing of the network is trained. The fraction is the one of the authors' code, rounded down as
    there. Where there are fewer samples than features, that code also removes all directions that
    no forgotten sample has. It takes the features of augmented images, and does not put the network
    into eval mode before.

    ESC-T: with a mask M of 0..1 for each entry of V, W (V∘M)(V∘M)ᵀ stands in the place of W.
    M begins with 1 and takes steps that make the cross-entropy of samples that are still right
    greater, until none is. Epochs, rate, batches and threshold are those of the authors' code,
    whose very first step has the two factors the other way round.
    """
    head = linear_head(task.model)
    features = head_inputs(task, task.forget)
    if not features.isfinite().all():
        raise MethodFailed("the features of the forget set are not finite")
    _, _, directions = torch.linalg.svd(features, full_matrices=False)
    with torch.no_grad():
        weight = head.weight.cpu().double()
        if params.variant == "trained":
            kept = _trained(task, params, features, directions.mT)
            head.weight.copy_((weight @ kept @ kept.mT).to(head.weight))
        else:
            leading = directions[: removed(params.fraction, head.in_features)]
            head.weight.sub_((weight @ leading.mT @ leading).to(head.weight))


def removed(fraction: float, features: int) -> int:
    """Number of directions; 0.29 of 100 are 29, though 0.29 * 100 is a little less."""
    return max(int(round(fraction * features, 9)), 1 if fraction else 0)


@torch.enable_grad()
def _trained(
    task: UnlearningTask, params: EscParams, features: Tensor, directions: Tensor
) -> Tensor:
    """Directions (features, k) with their masked entries; every rank computes all of it."""
    head, labels = linear_head(task.model), task.forget.labels.cpu()
    weight = head.weight.detach().cpu().double()
    bias = None if head.bias is None else head.bias.detach().cpu().double()

    def logits(inputs: Tensor, mask: Tensor) -> Tensor:
        kept = directions * mask
        return functional.linear(inputs @ kept @ kept.mT, weight, bias)

    order = shuffled(len(labels), params.batch_size)
    mask = torch.ones_like(directions)
    for epoch in range(params.epochs):
        for positions in order(epoch, streams.derive(task.seed, "mask", epoch)):
            mask.requires_grad_()
            said, wanted = logits(features[positions], mask), labels[positions]
            right = said.argmax(dim=1) == wanted
            if right.any():
                loss = functional.cross_entropy(said[right], wanted[right])
                (gradient,) = torch.autograd.grad(loss, [mask])
                mask = (mask.detach() + params.lr * gradient).clamp(0, 1)
            mask = mask.detach()
        said = logits(features, mask)
        task.report(
            done=epoch + 1,
            total=params.epochs,
            loss=functional.cross_entropy(said, labels),
            images=len(labels),
        )
        if not (said.argmax(dim=1) == labels).any():
            break
    return directions * (mask > params.threshold)
