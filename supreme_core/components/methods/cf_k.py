"""CF-k: forget catastrophically in the last k layers, and freeze the others."""

from typing import ClassVar

from pydantic import Field

from supreme_core.engine.networks.layers import Unit, trained_alone
from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class CfKParams(RetainParams):
    LATER: ClassVar = ("unit",)

    layers: int = Field(
        1, ge=1, description="k: layers that are trained, from the head on; all where it has fewer."
    )
    unit: Unit = Field(
        "block",
        description="Unit that counts as one layer: a block of the network as a whole, or each"
        " convolution and linear layer with the norms behind it, as in the authors' code.",
    )
    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:2201.06640",
    needs=("retain",),
    search={"lr": {"log": [1e-4, 1e-1]}, "layers": {"int": [1, 10]}, "epochs": {"epochs": [1, 10]}},
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=(
        "rates from Fan et al. 2024 (arXiv:2403.07362), appendix B.1; layers from Cadet et al. "
        f"2024 (arXiv:2410.01276); {RATES_FOR_TRANSFORMERS}"
    ),
)
def cf_k(task: UnlearningTask, params: CfKParams) -> None:
    """Train the last k layers on with the retain set only (Goel et al. 2022).

    The other layers keep every bit, also the statistics of their BatchNorms, which are in eval
    mode. k counts blocks; the authors' code counts convolutions and linear layers, each with the
    norms behind it, which is `unit: layer` here, and has every BatchNorm in train mode. Epochs and
    rate are those of the benchmark arXiv:2410.01276. Its code has batches of 256,
    no momentum, 0.05 times the squared distance to the first weights for a penalty, every BatchNorm
    in eval mode, and a tenth of the rate after half, 0.8 and 0.9 of the epochs each.
    """
    with trained_alone(task.model, task.layer_groups(params.unit)[-params.layers :]):
        train_on_retain(task, params)
