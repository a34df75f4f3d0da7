"""Training on with the retain set, which is a whole method or the larger part of one."""

from collections.abc import Callable
from functools import partial
from typing import Final

from pydantic import Field
from torch import optim

from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import Params

RATES_FOR_TRANSFORMERS: Final = (
    "for vision transformers about a tenth, around the rates of 0.001 to 0.03 by which Dosovitskiy"
    " et al. 2021 (arXiv:2010.11929), appendix B.1.1, fine-tune them by SGD"
)
"""Source of ranges of rates, of SGD on retained samples."""


class RetainParams(Params):
    """Training on the retain set; a method declares epochs and lr as its source has them."""

    epochs: int
    lr: float
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty of SGD.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")


def train_on_retain(
    task: UnlearningTask,
    params: RetainParams,
    *,
    rate: Callable[[float], float] = lambda epoch: 1.0,
    before_step: Callable[[float], None] | None = None,
) -> None:
    """Train what is trainable of the model on with the retain set."""
    task.fit(
        task.retain,
        name="retain",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
        rate=rate,
        before_step=before_step,
    )
