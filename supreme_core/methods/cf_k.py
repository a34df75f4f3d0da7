"""CF-k: forget catastrophically in the last k layers, and freeze the others."""

from functools import partial

from pydantic import Field
from torch import optim

from supreme_core.engine.layers import trained_alone
from supreme_core.engine.task import UnlearningTask
from supreme_core.registry import Params, method


class CfKParams(Params):
    layers: int = Field(
        1, ge=1, description="k: layers that are trained, from the head on; all where it has fewer."
    )
    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty of SGD.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")


@method(paper="arXiv:2201.06640")
def cf_k(task: UnlearningTask, params: CfKParams) -> None:
    """Train the last k layers on with the retain set only (Goel et al. 2022).

    The other layers keep every bit, also the statistics of their BatchNorms, which are in eval
    mode. Settings are those of the benchmark arXiv:2410.01276.
    """
    with trained_alone(task.model, task.layer_groups()[-params.layers :]):
        task.fit(
            task.retain,
            name="retain",
            epochs=params.epochs,
            batch_size=params.batch_size,
            optimizer=partial(
                optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
            ),
        )
