"""Bad teacher: learn what was to be kept from the original, and the rest from a random network."""

import copy
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.images.samples import Batch, Samples
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import divergence, steady
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params, method


class BadTeacherParams(Params):
    epochs: int = Field(1, ge=0, description="Passes over the forget set and the retain subset.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of Adam.")
    batch_size: int = Field(256, ge=1, description="Samples of one step.")
    retain_fraction: float = Field(
        0.3, ge=0, le=1, description="Part of the retain set that is used, drawn once at random."
    )
    incompetent: Literal["random", "start"] = Field(
        "random",
        description="Weights of the incompetent teacher: random ones, or those that training"
        " starts from, which may be pretrained.",
    )
    temperature: float = Field(
        1, gt=0, description="T: the logits of student and teachers are divided by it."
    )


@method(
    version=2,
    paper="arXiv:2205.08096",
    needs=("retain",),
    search={
        "lr": {"log": [1e-5, 3e-3]},
        "epochs": {"epochs": [1, 5]},
        "temperature": {"log": [0.5, 5]},
    },
    search_source=(
        "around the authors' values; temperatures as in Cadet et al. 2024 (arXiv:2410.01276)"
    ),
)
def bad_teacher(task: UnlearningTask, params: BadTeacherParams) -> None:
    """Distil from an incompetent teacher on the forget set, from the original on retained samples.

    Chundawat et al. 2023. The competent teacher is the original, the incompetent one a network with
    fresh random weights, also where training starts from pretrained ones; both are frozen and in
    eval mode. So the authors' notebook has it for a ResNet; a ViT of their code, of that of Foster
    et al. 2024 and of arXiv:2606.00380 has pretrained ones below its head: `incompetent: start`.
    Loss of a sample:
    KL(softmax(teacher / T) ‖ softmax(student / T)), summed over classes. Settings are those of
    arXiv:2606.00380, for every network; its loss is smaller by the number of classes, over which it
    averages, as the authors' code does. That code's function has T = 1 and batches of 256 too, but
    10 passes at a rate of 0.01 where no other is given.
    """
    competent = copy.deepcopy(task.model).eval().requires_grad_(False)
    make = task.random_model if params.incompetent == "random" else task.new_model
    incompetent = make("incompetent teacher").eval().requires_grad_(False)

    @steady
    def loss(student: nn.Module, batch: Batch) -> Tensor:
        forgotten = batch.labels.bool()[:, None]
        with torch.no_grad():
            logits = torch.where(forgotten, incompetent(batch.images), competent(batch.images))
        return divergence(logits, student(batch.images), temperature=params.temperature)

    task.fit(
        _marked_samples(task, params.retain_fraction),
        name="distillation",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(optim.Adam, lr=params.lr),
        loss=loss,
    )


def _marked_samples(task: UnlearningTask, retain_fraction: float) -> Samples:
    """The forget set, labelled 1, and a random part of the retain set, labelled 0."""
    order = permutation(streams.derive(task.seed, "retain subset"), len(task.retain))
    kept = order[: int(retain_fraction * len(task.retain))]
    retain = task.retain.take(torch.from_numpy(kept))
    return task.forget.with_labels(torch.ones_like(task.forget.labels)).join(
        retain.with_labels(torch.zeros_like(retain.labels))
    )
