"""Fine-tuning: train on with the retained data only, and hope that the rest fades."""

from functools import partial

from pydantic import Field
from torch import optim

from supreme_core.engine.task import UnlearningTask
from supreme_core.registry import Params, method


class FinetuneParams(Params):
    epochs: int = Field(5, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.02, gt=0, description="Learning rate of SGD.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty of SGD.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")


@method(paper="arXiv:1911.04933")
def finetune(task: UnlearningTask, params: FinetuneParams) -> None:
    """Train on with the retain set only (baseline of Golatkar et al. 2020).

    Settings are those of the baselines in Foster et al. 2024, arXiv:2308.07707.
    """
    task.fit(
        task.retain,
        name="retain",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
    )
