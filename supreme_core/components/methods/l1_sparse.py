"""ℓ1-sparse unlearning: fine-tune while weights are drawn to zero."""

import torch
from pydantic import Field

from supreme_core.engine.networks.weights import gradients, trainable
from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class L1SparseParams(RetainParams):
    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD.")
    batch_size: int = Field(256, ge=1, description="Samples of one step.")
    gamma: float = Field(5e-4, ge=0, description="γ: weight of ‖θ‖₁ in the first epoch.")
    plain_epochs: int = Field(
        0, ge=0, description="Number of last epochs, which have no penalty any more."
    )


@method(
    version=2,
    paper="arXiv:2304.04934",
    needs=("retain",),
    search={
        "gamma": {"log": [1e-6, 1e-3]},
        "lr": {"log": [1e-3, 1e-1]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [1e-4, 1e-2]}},
    search_source=f"around the authors' values, 1e-4 to 1e-3; {RATES_FOR_TRANSFORMERS}",
)
def l1_sparse(task: UnlearningTask, params: L1SparseParams) -> None:
    """Minimise CE + γ_t ‖θ‖₁ on the retain set, γ_t falling (Jia et al. 2023).

    γ_t = γ (1 - t / E) in epoch t = 0, 1, ... of the E that have the penalty. All trainable weights
    are in the norm, as in the authors' code, whose epochs, rate and batches these are. They search
    γ for each setting. Where `plainEpochs` is as large as `epochs`, their code has all of γ in
    every epoch, and here no epoch has any.
    """
    penalised = params.epochs - params.plain_epochs
    weights = trainable(task.model)

    @torch.no_grad()
    def add_penalty(epoch: float) -> None:
        if epoch < penalised:
            gamma = params.gamma * (1 - int(epoch) / penalised)
            signs = torch._foreach_sign(tuple(weights))
            torch._foreach_mul_(signs, gamma)
            torch._foreach_add_(gradients(weights), signs)

    train_on_retain(task, params, before_step=add_penalty if params.gamma else None)
