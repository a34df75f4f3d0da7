"""FCS: flatten the answers on the forget set, then repel it from retained samples and repair."""

from math import cos, pi

import torch
from pydantic import Field
from torch import Tensor, nn, optim
from torch.nn import functional

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import steady
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params, method


class FcsParams(Params):
    flat_epochs: int = Field(
        1, ge=0, description="Passes over the forget set towards equal probabilities."
    )
    flat_lr: float = Field(
        5e-3, gt=0, description="Learning rate of SGD towards equal probabilities."
    )
    epochs: int = Field(
        8, ge=0, description="Rounds, each a pass over the forget set and one over the retain set."
    )
    repel_lr: float = Field(
        3e-4, gt=0, description="Learning rate on the forget set in the first round."
    )
    temperature: float = Field(
        1.15, gt=0, description="T: products of logits are divided by it while repelling."
    )
    contrasts: int = Field(
        256, ge=1, description="Most retained samples that a round repels from, drawn at random."
    )
    lr: float = Field(4e-3, gt=0, description="Learning rate on the retain set.")
    weight_decay: float = Field(1e-2, ge=0, description="L2 penalty on the retain set.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD in all phases.")
    batch_size: int = Field(256, ge=1, description="Samples of one step.")


@method(
    paper="arXiv:2410.01276",
    needs=("retain",),
    search={
        "flatLr": {"log": [1e-4, 3e-2]},
        "repelLr": {"log": [1e-5, 1e-2]},
        "lr": {"log": [1e-4, 3e-2]},
        "epochs": {"epochs": [1, 10]},
    },
    search_source="within the rates of Cadet et al. 2024 (arXiv:2410.01276)",
)
def fcs(task: UnlearningTask, params: FcsParams) -> None:
    """Alternate a contrastive pass over the forget set with one over the retain set.

    The first entry of the NeurIPS 2023 competition in machine unlearning, as Cadet et al. 2024
    describe it. At first KL(uniform ‖ softmax(z)) is minimised on the forget set. A round then
    minimises -mean over j of log softmax_j(z · z_j / T), z the logits of a forgotten sample and z_j
    those of retained ones, then the cross-entropy of the retain set. The rate of the first of these
    falls by half a cosine over the rounds. The z_j are those of the model in eval mode at the start
    of a round, where the entry has those of a batch of its own in each step: so a sample's loss
    does not depend on which others are in its step.
    """
    forget_sgd, retain_sgd = (
        continued(
            optim.SGD(trainable(task.model), lr=lr, momentum=params.momentum, weight_decay=decay)
        )
        for lr, decay in ((params.repel_lr, 0.0), (params.lr, params.weight_decay))
    )
    task.fit(
        task.forget,
        name="flatten",
        epochs=params.flat_epochs,
        batch_size=params.batch_size,
        optimizer=lambda weights: optim.SGD(weights, lr=params.flat_lr, momentum=params.momentum),
        loss=from_uniform,
    )
    for number in range(params.epochs):
        contrasts = _logits(task, number, params.contrasts)

        @steady
        def repelled(model: nn.Module, batch: Batch, contrasts: Tensor = contrasts) -> Tensor:
            products: Tensor = model(batch.images) @ contrasts.mT / params.temperature
            return -products.log_softmax(dim=1).mean(dim=1)

        def rate(epoch: float, number: int = number) -> float:
            return (1 + cos(pi * (number + epoch) / params.epochs)) / 2

        task.fit(
            task.forget,
            name=f"repel {number}",
            epochs=1,
            batch_size=params.batch_size,
            optimizer=forget_sgd,
            loss=repelled,
            rate=rate,
        )
        task.fit(
            task.retain,
            name=f"repair {number}",
            epochs=1,
            batch_size=params.batch_size,
            optimizer=retain_sgd,
        )


@steady
def from_uniform(model: nn.Module, batch: Batch) -> Tensor:
    """KL(uniform ‖ softmax(z)) of each sample, (n,)."""
    answer = model(batch.images).log_softmax(dim=1)
    target = torch.full_like(answer, 1 / answer.shape[1])
    return functional.kl_div(answer, target, reduction="none").sum(dim=1)


@torch.no_grad()
def _logits(task: UnlearningTask, number: int, contrasts: int) -> Tensor:
    """(contrasts, classes) of some retained samples; every rank computes them."""
    order = permutation(streams.derive(task.seed, "contrasts", number), len(task.retain))
    some = task.retain.batch(torch.from_numpy(order[:contrasts]))
    logits: Tensor = task.model.eval()(some.images)
    return logits
