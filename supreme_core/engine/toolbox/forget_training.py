"""Training on with the forget set alone, which is what methods do that need no retain set."""

from functools import partial

from pydantic import Field
from torch import optim

from supreme_core.engine.images.samples import Samples
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import Loss
from supreme_core.registry import Params


class ForgetParams(Params):
    """Training on the forget set; a method declares epochs and lr as its source has them."""

    epochs: int
    lr: float
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty of SGD.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")
    keep_statistics: bool = Field(
        False,
        description="True lets BatchNorm use and keep the statistics that it has; else they"
        " become those of the forget set, which damages the model by itself.",
    )


def train_on_forget(
    task: UnlearningTask, params: ForgetParams, loss: Loss, samples: Samples | None = None
) -> None:
    """Make `loss` small on the forget set, or on `samples`, which were made of it."""
    task.fit(
        samples or task.forget,
        name="forget",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
        loss=loss,
        training=not params.keep_statistics,
    )
