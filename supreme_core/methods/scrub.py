"""SCRUB: obey the original on what is kept, and contradict it on what is to be forgotten."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.continued import continued
from supreme_core.engine.loss import divergence
from supreme_core.engine.marked import is_forgotten, marked, unmarked
from supreme_core.engine.order import one_after_other
from supreme_core.engine.samples import Batch
from supreme_core.engine.task import UnlearningTask
from supreme_core.engine.weights import trainable
from supreme_core.registry import Params, method


class ScrubParams(Params):
    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    ascent_epochs: int = Field(
        3,
        ge=0,
        description="Of these, the first ones in which a pass over the forget set goes on"
        " ahead; all where there are fewer.",
    )
    lr: float = Field(5e-4, gt=0, description="Learning rate of Adam.")
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        [5, 8, 9], max_length=100, description="Epochs after which the rate is multiplied by decay."
    )
    decay: float = Field(0.1, gt=0, le=1, description="Factor of the rate at each milestone.")
    weight_decay: float = Field(0.1, ge=0, description="L2 penalty of Adam.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")
    temperature: float = Field(
        2, gt=0, description="T: the logits of student and teacher are divided by it."
    )
    alpha: float = Field(0.5, ge=0, description="α: weight of the divergence on the retain set.")
    gamma: float = Field(1, ge=0, description="γ: weight of the cross-entropy on the retain set.")
    distance: float = Field(
        0,
        ge=0,
        description="Weight of the distance to the original, Σ over tensors of ‖θ - θ_o‖₂.",
    )


@method(paper="arXiv:2302.09880", needs=("retain",))
def scrub(task: UnlearningTask, params: ScrubParams) -> None:
    """Distil from the original on the retain set, away from it on the forget set (Kurmanji et al.).

    The teacher is the original, frozen and in eval mode. d(x) = T² KL(softmax(teacher / T) ‖
    softmax(student / T)). An epoch first maximises d on the forget set, while `ascentEpochs` last,
    then minimises γ CE + α d on the retain set; one Adam does both. Settings are those of
    arXiv:2606.00380, for every network, but for the distance, to which it gives 0.5. In the code
    that it adapts, that term compares the student with itself, so 0 is what was computed there.
    """
    teacher = copy.deepcopy(task.model).eval().requires_grad_(False)
    originals = [parameter.detach().clone() for parameter in trainable(task.model)]
    optimizer = continued(
        optim.Adam(trainable(task.model), lr=params.lr, weight_decay=params.weight_decay)
    )

    def loss(student: nn.Module, batch: Batch) -> Tensor:
        forgotten, batch = is_forgotten(batch), unmarked(batch)
        with torch.no_grad():
            target = teacher(batch.images)
        logits = student(batch.images)
        away = divergence(target, logits, temperature=params.temperature) * params.temperature**2
        right = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
        return torch.where(forgotten, -away, params.gamma * right + params.alpha * away)

    @torch.no_grad()
    def add_distance(epoch: float) -> None:
        for parameter, original in zip(trainable(task.model), originals, strict=True):
            away = parameter - original
            length = torch.linalg.vector_norm(away)
            assert parameter.grad is not None
            parameter.grad += params.distance * away / torch.where(length > 0, length, 1)

    def rate(epoch: float) -> float:
        return params.decay ** sum(milestone <= epoch for milestone in params.milestones)

    ascents = min(params.ascent_epochs, params.epochs)
    task.fit(
        marked(task.forget, task.retain),
        name="ascent and descent",
        epochs=ascents,
        batch_size=params.batch_size,
        optimizer=optimizer,
        loss=loss,
        rate=rate,
        order=one_after_other(len(task.forget), len(task.retain), batch_size=params.batch_size),
        before_step=add_distance,
    )
    task.fit(
        task.retain,
        name="descent",
        epochs=params.epochs - ascents,
        batch_size=params.batch_size,
        optimizer=optimizer,
        loss=loss,
        rate=lambda epoch: rate(ascents + epoch),
        before_step=add_distance,
    )
