"""CT: transpose the kernels of all convolutions, then repair."""

from math import cos, pi

import torch
from pydantic import Field

from supreme_core.engine.networks.convolutions import convolutions
from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class CtParams(RetainParams):
    epochs: int = Field(3, ge=0, description="Passes over the retain set.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of SGD in the first step.")


@method(
    paper="arXiv:2410.01276",
    needs=("retain", "convolutions"),
    search={"lr": {"log": [1e-4, 1e-1]}, "epochs": {"epochs": [1, 10]}},
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=f"rates from Cadet et al. 2024 (arXiv:2410.01276); {RATES_FOR_TRANSFORMERS}",
)
def ct(task: UnlearningTask, params: CtParams) -> None:
    """Transpose each square kernel, then train on the retain set ("convolution transpose").

    The fifth entry of the NeurIPS 2023 competition in machine unlearning, as Cadet et al. 2024
    describe it. The rate falls by half a cosine, from step to step, where their code lowers it
    after each epoch.
    """
    with torch.no_grad():
        for layer in convolutions(task.model).values():
            height, width = layer.kernel_size
            if height == width:
                layer.weight.copy_(layer.weight.mT.clone())
    train_on_retain(task, params, rate=lambda epoch: (1 + cos(pi * epoch / params.epochs)) / 2)
