"""Kinds of importance that methods share, by the names that stand for them in keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from supreme_core.engine.networks.weights import Weights
from supreme_core.engine.ranks.device import for_float64
from supreme_core.engine.toolbox.importance_by_sample import Power
from supreme_core.engine.training.loss import Loss, cross_entropy, squared_output
from supreme_core.registry import ImportanceKind, TrainingPart

KnownSums = Mapping[TrainingPart, Sequence[Tensor]]
"""Sums of one kind over the parts, as `importance_sums` gives them."""


@dataclass(frozen=True)
class Importance:
    """Importance of a weight: a power of the gradient of a sample's loss.

    version: raised when the sums of the same samples get other bits.
    """

    name: ImportanceKind
    loss: Loss
    power: Power
    version: int = 1

    def identity(self) -> dict[str, Any]:
        """Meaning of the kind in a key."""
        return {"name": self.name, "version": self.version}


SQUARED_LOSS: Final = Importance("squared_loss", cross_entropy, "squared")
"""The Fisher information's diagonal, with the labels of the samples."""

ABSOLUTE_OUTPUT: Final = Importance("absolute_output", squared_output, "absolute")

BY_NAME: Final[Mapping[str, Importance]] = {
    each.name: each for each in (SQUARED_LOSS, ABSOLUTE_OUTPUT)
}


def named(model: nn.Module, sums: Sequence[Tensor]) -> Weights:
    """Sums of a model by the names of its weights, as a file has them."""
    return dict(zip(_names(model), sums, strict=True))


def in_order(model: nn.Module, sums: Weights) -> list[Tensor]:
    """Sums by name in the model's order, on the device where sums are computed."""
    return [sums[name].to(for_float64(model.get_parameter(name)).device) for name in _names(model)]


def _names(model: nn.Module) -> list[str]:
    return [name for name, each in model.named_parameters() if each.requires_grad]
