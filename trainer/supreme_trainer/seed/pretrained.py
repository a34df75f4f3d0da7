"""The published weights that the trainings of an experiment start from, where they do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from safetensors.torch import load_file
from supreme_trainer.seed.context import SeedContext, Start
from supreme_trainer.seed.stage import Made, Stage, Stages, Stored
from supreme_trainer.seed.training import packed

from supreme_core.api.names import WEIGHTS
from supreme_core.engine.networks.architecture import Pretrained
from supreme_core.engine.networks.weights import Weights
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.plan import Step


@dataclass(frozen=True)
class PretrainedStage(Stage[Weights]):
    """given: the packed weights, where they are not to be downloaded."""

    context: SeedContext
    pretrained: Pretrained
    given: bytes | None = None

    name = "pretrained"
    is_data = True

    @property
    def step(self) -> Step:
        return Step("pretrained")

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {"weights": self.pretrained.identity()}

    def make(self, checkpoints: Checkpoints) -> Made:
        if not self.context.ranks.is_main:
            return Made({}, {})
        return Made({WEIGHTS: self.given or packed(self.pretrained.download())}, {})

    def read(self, stored: Stored) -> Weights:
        return load_file(stored.files[WEIGHTS])


def with_start(context: SeedContext, stages: Stages) -> SeedContext:
    """The context with the pretrained weights, where the model starts from such."""
    pretrained = context.architecture.pretrained
    if pretrained is None:
        return context
    weights = stages.later(PretrainedStage(context, pretrained))
    return replace(context, start=Start(weights.ensure().files[WEIGHTS].sha256, weights))
