"""DELETE: distil from the original, which is made to leave out what is to be forgotten."""

import copy

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.toolbox.forget_training import ForgetParams, train_on_forget
from supreme_core.engine.toolbox.relabelling import without_forgotten
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import steady
from supreme_core.registry import method


class DeleteParams(ForgetParams):
    epochs: int = Field(20, ge=0, description="Passes over the forget set.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:2503.23751",
    search={"lr": {"log": [1e-5, 1e-2]}, "epochs": {"int": [1, 20]}},
    search_source="around the values of the authors' code",
)
def delete(task: UnlearningTask, params: DeleteParams) -> None:
    """Keep the original's answers on the forget set but for the true class (Zhou et al. 2025).

    Loss of a sample: KL(softmax(m(z_o)) ‖ softmax(z)), z the logits, z_o those of the frozen
    original, m(z_o) with -∞ for the label and for every class that is forgotten as a whole. Only
    the forget set is used. Epochs and rate are those of the authors' code for CIFAR-10 with
    ResNet18, which has no weight decay and batches of 128. Its files for ViT-S/16 and Swin-T name a
    rate of 5e-5, but for every method alike, as that for ResNet18 names 1e-4. With `keepStatistics`
    this is their option to disable BatchNorm.
    """
    original = copy.deepcopy(task.model).eval().requires_grad_(False)

    @steady
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = without_forgotten(task, original(batch.images), batch.labels).softmax(dim=1)
        answer = functional.log_softmax(model(batch.images), dim=1)
        return functional.kl_div(answer, target, reduction="none").sum(dim=1)

    train_on_forget(task, params, loss)
