"""Dampening of the weights that matter to the forget set far more than to all of the data."""

from typing import Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.importance import batch_importances, mean_importances
from supreme_core.engine.toolbox.importance_kinds import Importance
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.registry import Params


class DampeningParams(Params):
    """Choice of the weights that are dampened, and how far; shared by the methods that dampen."""

    LATER: ClassVar = ("variant",)

    alpha: float = Field(
        10,
        gt=0,
        description="α: a weight is dampened where its importance for the forget set is above α"
        " times its importance for the whole training set; none can be from |D| / |F| on.",
    )
    lambda_: float = Field(
        1,
        ge=0,
        alias="lambda",
        description="λ: a dampened weight is multiplied by λ times the inverse ratio of the"
        " importances, at most by 1.",
    )
    variant: Literal["per_sample", "batch"] = Field(
        "per_sample",
        description="Gradients that are squared, or made absolute: each sample's, or the mean of"
        " each batch's, as the authors' code has it, which depends on the batches.",
    )
    batch_size: int = Field(64, ge=1, description="Samples of a batch of the variant batch.")

    def identity(self) -> dict[str, Any]:
        """The variant came later, and without it the size of its batches means nothing."""
        document = super().identity()
        if self.variant == "per_sample":
            del document["batchSize"]
        return document

    def importances(
        self, task: UnlearningTask, importance: Importance
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Importances for the forget set and the whole training set, as the variant has them."""
        if self.variant == "batch":
            return batch_importances(task, importance, batch_size=self.batch_size)
        return mean_importances(task, importance)


WITHOUT_SUMS: Final = {"variant": "batch"}
"""Settings whose importances belong to the batches of one run, so that no other can use them."""


@torch.no_grad()
def dampen(
    model: nn.Module,
    forget: list[Tensor],
    everything: list[Tensor],
    *,
    alpha: float,
    lambda_: float,
) -> None:
    """Set θ ← min(1, λ I_D / I_F) θ where I_F > α I_D. Other weights and all buffers keep their
    bits.

    forget, everything: I_F and I_D of each trainable parameter. A selected weight has I_F > 0, so
    no 0 / 0 is ever taken.
    """
    for parameter, of_f, of_d in zip(trainable(model), forget, everything, strict=True):
        selected = of_f > alpha * of_d
        ratio = lambda_ * of_d / torch.where(selected, of_f, 1)
        factor = torch.where(selected, ratio.clamp(max=1), 1)
        parameter.mul_(factor.to(parameter))
