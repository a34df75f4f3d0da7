"""CFW: put noise on a convolution's weights, then repair, with a little noise near the end."""

from math import cos, pi
from typing import Literal

import torch
from pydantic import Field
from torch import optim

from supreme_core.engine.networks.convolutions import convolutions
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class CfwParams(RetainParams):
    epochs: int = Field(4, ge=0, description="Passes over the retain set.")
    lr: float = Field(7e-4, gt=0, description="Learning rate of SGD in the first step.")
    noise: float = Field(0.6, ge=0, description="Standard deviation of the noise at the start.")
    late_noise: float = Field(
        0.005, ge=0, description="Standard deviation of the noise before the last epoch."
    )
    variant: Literal["first_convolution", "every_convolution"] = Field(
        "first_convolution",
        description="Where the noise is: on the first convolution, which is what the code of the"
        " benchmark reaches in a ResNet, or on every one, as the description has it.",
    )


@method(
    version=2,
    paper="arXiv:2410.01276",
    needs=("retain", "convolutions"),
    search={
        "noise": {"log": [0.02, 2]},
        "lr": {"log": [1e-4, 1e-1]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=(
        "around the entry's values; rates from Cadet et al. 2024 (arXiv:2410.01276); "
        f"{RATES_FOR_TRANSFORMERS}"
    ),
)
def cfw(task: UnlearningTask, params: CfwParams) -> None:
    """Add noise to a convolution's weights, then train on the retain set ("confuse weights").

    The third entry of the NeurIPS 2023 competition in machine unlearning, as Cadet et al. 2024 have
    it. They describe noise on the weights of convolutions; their code reaches only those that are
    no part of a block, which is the first one of a ResNet, and with that its deviation was chosen.
    On every convolution it leaves little of what was learnt: choose it lower there.

    The rate falls by half a cosine, from step to step, where their code lowers it after each epoch.
    That code also scales a step's loss by the mean weight of its classes, which is near 1 where
    they are balanced.
    """
    optimizer = continued(
        optim.SGD(
            trainable(task.model),
            lr=params.lr,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )
    )
    before_last = max(params.epochs - 1, 0)
    parts = (
        ("repair", 0, before_last, params.noise),
        ("last epoch", before_last, params.epochs - before_last, params.late_noise),
    )
    for name, first, epochs, noise in parts:
        _add_noise(task, name, noise, params.variant)

        def rate(epoch: float, first: int = first) -> float:
            return (1 + cos(pi * (first + epoch) / params.epochs)) / 2

        task.fit(
            task.retain,
            name=name,
            epochs=epochs,
            batch_size=params.batch_size,
            optimizer=optimizer,
            rate=rate,
        )


@torch.no_grad()
def _add_noise(task: UnlearningTask, name: str, deviation: float, variant: str) -> None:
    generator = task.generator("noise", name)
    layers = list(convolutions(task.model).values())
    for layer in layers[:1] if variant == "first_convolution" else layers:
        noise = torch.randn(layer.weight.shape, generator=generator)
        layer.weight += deviation * noise.to(task.device)
