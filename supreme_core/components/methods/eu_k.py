"""EU-k: unlearn exactly in the last k layers, and freeze the others."""

from typing import ClassVar

import torch
from pydantic import Field

from supreme_core.engine.networks.layers import Unit, trained_alone
from supreme_core.engine.toolbox.retain_training import (
    RATES_FOR_TRANSFORMERS,
    RetainParams,
    train_on_retain,
)
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import method


class EuKParams(RetainParams):
    LATER: ClassVar = ("unit",)

    layers: int = Field(
        1, ge=1, description="k: layers that begin anew, from the head on; all where it has fewer."
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
    search={"lr": {"log": [1e-3, 1e-1]}, "layers": {"int": [1, 10]}, "epochs": {"epochs": [1, 10]}},
    search_for_transformers={"lr": {"log": [1e-4, 1e-2]}},
    search_source=(
        "layers from Cadet et al. 2024 (arXiv:2410.01276); rates around those of Kurmanji et "
        f"al. 2023 (arXiv:2302.09880); {RATES_FOR_TRANSFORMERS}"
    ),
)
def eu_k(task: UnlearningTask, params: EuKParams) -> None:
    """Let the last k layers begin anew and train them on the retain set (Goel et al. 2022).

    They begin as training began: with random weights, or with pretrained ones below the head. The
    other layers keep every bit, also the statistics of their BatchNorms, which are in eval mode. k
    counts as CF-k counts; in the authors' code, which has `unit: layer`, convolutions and linear
    layers begin with He's weights, and norms keep theirs and are trained on. Settings are those of
    CF-k; the paper trains for as long as Retrained.
    """
    groups = task.layer_groups(params.unit)[-params.layers :]
    weights, anew = task.model.state_dict(), task.new_model("last layers").state_dict()
    with torch.no_grad():
        for group in groups:
            for name in (*group.parameters, *group.buffers):
                weights[name].copy_(anew[name])
    with trained_alone(task.model, groups):
        train_on_retain(task, params)
