"""Shrink and perturb: weaken what the weights know, then train on what is to be retained."""

from functools import partial

import torch
from pydantic import Field
from torch import optim

from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import Params, method


class ShrinkAndPerturbParams(Params):
    shrink: float = Field(0.8, ge=0, le=1, description="Factor of all weights; 1 keeps them.")
    noise: float = Field(0.01, ge=0, description="Standard deviation of the noise on each weight.")
    epochs: int = Field(2, ge=0, description="Passes over the retain set afterwards.")
    lr: float = Field(0.02, gt=0, description="Learning rate of SGD.")


@method(
    paper="after Ash and Adams 2020, arXiv:1910.08475",
    needs=("retain",),
    search={
        "shrink": {"uniform": [0.2, 1]},
        "noise": {"log": [1e-3, 0.1]},
        "epochs": {"epochs": [1, 10]},
        "lr": {"log": [1e-3, 0.1]},
    },
)
def shrink_and_perturb(task: UnlearningTask, params: ShrinkAndPerturbParams) -> None:
    """Shrink all weights, add noise, and fine-tune on the retain set (after Ash and Adams 2020)."""
    generator = task.generator("noise")
    with torch.no_grad():
        for weight in task.model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.mul_(params.shrink).add_(noise.to(weight), alpha=params.noise)
    task.fit(
        task.retain,
        name="retain",
        epochs=params.epochs,
        batch_size=64,
        optimizer=partial(optim.SGD, lr=params.lr, momentum=0.9),
    )
