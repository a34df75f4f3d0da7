"""Importances of the original's weights, summed once for all methods that read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import load_file
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.stage import Later, Made, Stage, Stored
from supreme_trainer.seed.training import Trained, packed

from supreme_core.api.canonical import digest
from supreme_core.api.names import IMPORTANCES
from supreme_core.data.split import Indices
from supreme_core.engine.networks.weights import Weights
from supreme_core.engine.toolbox.importance import importance_sums
from supreme_core.engine.toolbox.importance_kinds import Importance, named
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.plan import Step
from supreme_core.registry import TrainingPart
from supreme_core.scoring.evaluation import Cost
from supreme_core.scoring.run_scoring import read_cost


@dataclass(frozen=True)
class Importances:
    """Sums by the names of the weights, and what they took."""

    sums: Weights
    cost: Cost


@dataclass(frozen=True)
class ImportancesStage(Stage[Importances]):
    """Sums of one kind over one part of the training set, as the cell's first request splits it.

    They depend on nothing that a method is told beside, so every method, setting and repeat that
    reads this kind shares them, and so do scenarios that forget the same samples.
    """

    context: SeedContext
    cell: Cell
    original: Later[Trained]
    importance: Importance
    part: TrainingPart

    name = "importances"
    of_run = True

    @property
    def step(self) -> Step:
        return Step("importances", self.cell.title, self.part, metric=self.importance.name)

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {
            "engine": ENGINE_VERSION,
            "original": self.original.key,
            "importance": self.importance.identity(),
            "samples": digest(self._positions.tolist()),
        }

    def make(self, checkpoints: Checkpoints) -> Made:
        context, data = self.context, self.cell.data
        network = context.networks(data.shape).with_weights(self.original.value().weights)
        with checkpoints.meter.measured() as meter:
            sums = importance_sums(
                network,
                data.train.take(torch.from_numpy(self._positions)),
                loss=self.importance.loss,
                power=self.importance.power,
                reduction=context.numerics.reduction,
                report=context.telemetry.progress,
            )
        return Made({IMPORTANCES: packed(named(network, sums))}, {"cost": meter.cost.to_facts()})

    def read(self, stored: Stored) -> Importances:
        return Importances(load_file(stored.files[IMPORTANCES]), read_cost(stored.manifest.facts))

    @property
    def _positions(self) -> Indices:
        request = self.cell.split.requests[0]
        return request.forget if self.part == "forget" else request.retain
