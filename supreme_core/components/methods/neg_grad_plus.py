"""NegGrad+: climb on the forget set and descend on the retain set in the same step."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.engine.toolbox.signed_labels import is_forgotten, marked, unmarked
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy, steady
from supreme_core.engine.training.sample_order import paired
from supreme_core.registry import method


class NegGradPlusParams(RetainParams):
    epochs: int = Field(10, ge=0, description="Passes over the retain set.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD.")
    beta: float = Field(
        0.95, ge=0, le=1, description="β: weight of the retain set; the forget set has 1 - β."
    )
    batch_size: int = Field(64, ge=1, description="Retained samples of one step.")
    keep_statistics: bool = Field(
        True,
        description="True lets BatchNorm use and keep the statistics that it has; else they"
        " become those of both sets in equal parts.",
    )


@method(
    paper="arXiv:2302.09880",
    needs=("retain",),
    search={
        "beta": {"logToOne": [0.5, 0.9999]},
        "lr": {"log": [1e-4, 3e-2]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [1e-5, 3e-2]}},
    search_source=(
        "around the authors' values, 0.9 to 0.9999; below 0.5 ascent dominates; "
        f"{RATES_FOR_TRANSFORMERS}"
    ),
)
def neg_grad_plus(task: UnlearningTask, params: NegGradPlusParams) -> None:
    """Minimise β CE on the retain set less (1 - β) CE on the forget set (Kurmanji et al. 2023).

    A step has as many forgotten samples as retained ones; the forget set is gone through again and
    again. BatchNorm is in eval mode, as in the benchmark arXiv:2410.01276, whose epochs, rate and β
    these are; its code takes batches of 256 and no weight decay. In train mode BatchNorm sees both
    parts as one batch, where the authors' code passes one after the other. β = 0.5 at twice the
    rate is the AdvancedNegGrad of arXiv:2311.02240.
    Nothing bounds the ascent: where the forget set is soon forgotten, as a whole class may be, β
    must be nearer to 1.
    """

    @steady
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        """Twice that of each part: half of a step's samples are of either."""
        weights = torch.where(is_forgotten(batch), -2 * (1 - params.beta), 2 * params.beta)
        return weights * cross_entropy(model, unmarked(batch))

    task.fit(
        marked(task.forget, task.retain),
        name="both",
        epochs=params.epochs,
        batch_size=2 * params.batch_size,
        optimizer=partial(
            optim.SGD, lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        ),
        loss=loss,
        order=paired(len(task.forget), len(task.retain), batch_size=params.batch_size),
        training=not params.keep_statistics,
    )
