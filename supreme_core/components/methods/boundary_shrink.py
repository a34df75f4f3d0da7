"""Boundary shrink: give forgotten samples to the class beyond the nearest decision boundary."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from supreme_core.engine.images.samples import FIXED_BATCH_SIZE
from supreme_core.engine.toolbox.forget_training import ForgetParams, train_on_forget
from supreme_core.engine.toolbox.relabelling import without_forgotten
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.registry import method


class BoundaryShrinkParams(ForgetParams):
    epochs: int = Field(10, ge=0, description="Passes over the forget set.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of SGD.")
    epsilon: float = Field(
        0.1, ge=0, le=1, description="ε: how far each pixel is moved, on the scale 0..1."
    )


@method(
    paper="arXiv:2303.11570",
    search={"lr": {"log": [1e-7, 1e-3]}, "epochs": {"int": [1, 20]}},
    search_source="rates from Fan et al. 2024 (arXiv:2403.07362), appendix B.1",
)
def boundary_shrink(task: UnlearningTask, params: BoundaryShrinkParams) -> None:
    """Relabel the forget set with the nearest wrong classes and train on it (Chen et al. 2023).

    A sample's class is the one, but for its label and for classes that are forgotten as a whole,
    that the original likes best on x + ε sign(∂CE/∂x), with pixels of 0..1. The authors' code
    rounds the moved pixels to 1/255, and leaves a sample its own label where the original still
    likes that best. Its rate is 1e-5, without weight decay; the paper has rates up to 1e-4.
    """
    relabelled = task.forget.with_labels(nearest_wrong_labels(task, params.epsilon))
    train_on_forget(task, params, cross_entropy, relabelled)


def nearest_wrong_labels(task: UnlearningTask, epsilon: float) -> Tensor:
    """(|F|,); every rank finds all of them, with the same steps on the same numbers."""
    black, white = task.pixel_range
    found = []
    task.model.eval()
    for batch in task.forget.batches(torch.split(torch.arange(len(task.forget)), FIXED_BATCH_SIZE)):
        images = batch.images.requires_grad_()
        loss = functional.cross_entropy(task.model(images), batch.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [images])
        with torch.no_grad():
            moved = images + epsilon * (white - black) * gradient.sign()
            logits = task.model(moved.clamp(black, white))
            found.append(without_forgotten(task, logits, batch.labels).argmax(dim=1))
    return torch.cat(found)
