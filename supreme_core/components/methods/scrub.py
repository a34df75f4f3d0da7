"""SCRUB: obey the original on what is kept, and contradict it on what is to be forgotten."""

import copy
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import gradients, trainable
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.toolbox.signed_labels import is_forgotten, marked, unmarked
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import divergence, steady
from supreme_core.engine.training.sample_order import one_after_other
from supreme_core.registry import Params, method


class ScrubParams(Params):
    LATER: ClassVar = ("optimizer", "momentum", "forget_batch_size")

    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    ascent_epochs: int = Field(
        3,
        ge=0,
        description="Number of first epochs that start with a maximisation pass over the forget"
        " set; all epochs where there are fewer.",
    )
    lr: float = Field(5e-4, gt=0, description="Learning rate of the optimiser.")
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        [5, 8, 9], max_length=100, description="Epochs after which the rate is multiplied by decay."
    )
    decay: float = Field(0.1, gt=0, le=1, description="Factor of the rate at each milestone.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="The optimiser of all steps.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD; Adam has its own.")
    weight_decay: float = Field(0.1, ge=0, description="L2 penalty of the optimiser.")
    batch_size: int = Field(64, ge=1, description="Samples of one step on the retain set.")
    forget_batch_size: int | None = Field(
        None,
        ge=1,
        description="Samples of one step on the forget set; unset: as many as on the retain set.",
    )
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


@method(
    paper="arXiv:2302.09880",
    needs=("retain",),
    search={
        "lr": {"log": [1e-5, 1e-2]},
        "alpha": {"log": [1e-3, 1]},
        "ascentEpochs": {"int": [1, 5]},
        "epochs": {"epochs": [1, 10]},
    },
    search_source=(
        "the authors' values for alpha; rates a tenth of those of Fan et al. 2024"
        " (arXiv:2403.07362), appendix B.1, which are for SGD: Adam collapses from 1e-3 on"
    ),
)
def scrub(task: UnlearningTask, params: ScrubParams) -> None:
    """Distil from the original on the retain set, away from it on the forget set (Kurmanji et al.).

    The teacher is the original, frozen and in eval mode. d(x) = T² KL(softmax(teacher / T) ‖
    softmax(student / T)). An epoch first maximises d on the forget set, while `ascentEpochs` last,
    then minimises γ CE + α d on the retain set; one optimiser does both. Settings are those of
    arXiv:2606.00380, for every network, but for the distance, to which it gives 0.5. In the code
    that it adapts, that term compares the student with itself, so 0 is what was computed there.

    The authors' notebook for small data has these settings too, with batches of 32 retained and 64
    forgotten samples. That for large data is `optimizer: sgd`, `lr: 5e-4`, `momentum: 0.9`,
    `weightDecay: 5e-4`, `alpha: 0.001`, `gamma: 0.99`, `temperature: 4`, `epochs: 3`,
    `ascentEpochs: 2`, `milestones: [3, 5, 9]`. It names batches of 128 and 32, and trains in
    batches of 256 and 512.
    """
    teacher = copy.deepcopy(task.model).eval().requires_grad_(False)
    weights = trainable(task.model)
    before_step = _distance_to(weights, params.distance) if params.distance else None
    optimizer = continued(_optimizer(weights, params))

    @steady
    def loss(student: nn.Module, batch: Batch) -> Tensor:
        forgotten, batch = is_forgotten(batch), unmarked(batch)
        with torch.no_grad():
            target = teacher(batch.images)
        logits = student(batch.images)
        away = divergence(target, logits, temperature=params.temperature) * params.temperature**2
        right = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
        return torch.where(forgotten, -away, params.gamma * right + params.alpha * away)

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
        order=one_after_other(
            len(task.forget),
            len(task.retain),
            batch_size=params.batch_size,
            first_batch_size=params.forget_batch_size,
        ),
        before_step=before_step,
    )
    task.fit(
        task.retain,
        name="descent",
        epochs=params.epochs - ascents,
        batch_size=params.batch_size,
        optimizer=optimizer,
        loss=loss,
        rate=lambda epoch: rate(ascents + epoch),
        before_step=before_step,
    )


def _distance_to(weights: list[nn.Parameter], factor: float) -> Callable[[float], None]:
    """Addition of the gradient of `factor` times the distance to the weights as they are now."""
    originals = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def add_distance(epoch: float) -> None:
        away = torch._foreach_sub(tuple(weights), originals)
        # Of each by itself: torch's _foreach_norm adds in another order on a GPU.
        lengths = torch.stack([torch.linalg.vector_norm(each) for each in away])
        lengths = torch.where(lengths > 0, lengths, 1)
        torch._foreach_mul_(away, factor)
        torch._foreach_div_(away, list(lengths.unbind()))
        torch._foreach_add_(gradients(weights), away)

    return add_distance


def _optimizer(weights: list[nn.Parameter], params: ScrubParams) -> optim.Optimizer:
    lr, weight_decay = params.lr, params.weight_decay
    if params.optimizer == "sgd":
        return optim.SGD(weights, lr=lr, momentum=params.momentum, weight_decay=weight_decay)
    return optim.Adam(weights, lr=lr, weight_decay=weight_decay)
