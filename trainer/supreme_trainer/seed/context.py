"""Facts and tools that all stages of one seed share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from supreme_trainer.seed.components import Components
from supreme_trainer.seed.stage import Later
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api.orders import RunOrder, TrialPlan
from supreme_core.api.v1alpha1 import DataPlacement, EvaluationPrecision
from supreme_core.data.cells import Splits
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.networks.weights import Weights
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.randomness.streams import Streams


@dataclass(frozen=True)
class Start:
    """The pretrained weights that every network of an experiment starts from.

    digest: sha256 of their file.
    """

    digest: str
    weights: Later[Weights]


@dataclass(frozen=True)
class SeedContext:
    """A seed's components, random streams and ranks, and where its stages are made.

    scratch: a folder for files on their way to the store.
    start: None for networks that start from fresh weights.
    trials: what is tried in a tuning seed; None in a seed of the experiment's own.
    evaluation_precision: of the passes whose predictions the metrics read.
    """

    streams: Streams
    components: Components
    ranks: Ranks
    telemetry: Telemetry
    scratch: Path
    data_placement: DataPlacement = "Auto"
    keep_unlearned_models: bool = False
    start: Start | None = None
    trials: TrialPlan | None = None
    evaluation_precision: EvaluationPrecision = "fp32"

    @classmethod
    def of(
        cls, order: RunOrder, *, ranks: Ranks, telemetry: Telemetry, scratch: Path
    ) -> "SeedContext":
        """SpecError where a component of the order cannot be had."""
        return cls(
            Streams(order.seed, order.work.protocol),
            Components.of(order.work),
            ranks,
            telemetry,
            scratch,
            data_placement=order.data_placement,
            keep_unlearned_models=order.keep_unlearned_models,
            trials=order.work.tuning,
            evaluation_precision=order.work.evaluation_precision,
        )

    @property
    def seed(self) -> int:
        return self.streams.seed

    @cached_property
    def architecture(self) -> Architecture:
        return Architecture.of(self.components.model)

    @cached_property
    def numerics(self) -> NumericsPolicy:
        return NumericsPolicy.of(self.components.recipe.training, self.ranks)

    @cached_property
    def splits(self) -> Splits:
        needing = (each.needs("validation") for each in self.components.methods.values())
        return Splits(
            scenarios=self.components.scenarios,
            validation=self.components.recipe.training.validation,
            needs_validation=next(filter(None, needing), ""),
            for_trials=self.trials is not None,
        )

    @property
    def evaluation_meaning(self) -> dict[str, Any]:
        """Meaning of the arithmetic of predictions; empty for what keys without it mean."""
        precision = self.evaluation_precision
        return {"evaluation": precision} if precision != "fp32" else {}

    def networks(self, shape: ImageShape) -> NetworkFactory:
        """Networks of the experiment's model.  shape: of the images as it sees them."""
        return NetworkFactory(
            architecture=self.architecture,
            shape=shape,
            device=self.ranks.device,
            pretrained=self.start.weights.value if self.start else None,
        )

    def input_meaning(self) -> dict[str, Any]:
        """Meaning of a model's input, which its name and settings do not say where a library
        decides it."""
        seen = self.architecture.input
        return {"input": seen.identity()} if seen else {}
