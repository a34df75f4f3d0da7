"""Adam with decoupled weight decay."""

from collections.abc import Iterable

from pydantic import Field
from torch import nn, optim

from supreme_core.registry import Params, optimizer


class AdamwParams(Params):
    lr: float = Field(1e-3, gt=0, description="Learning rate before the schedule.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay.")


@optimizer()
def adamw(parameters: Iterable[nn.Parameter], params: AdamwParams) -> optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return optim.AdamW(
        parameters,
        lr=params.lr,
        betas=(params.beta1, params.beta2),
        weight_decay=params.weight_decay,
    )
