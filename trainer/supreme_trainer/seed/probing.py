"""Probes: stages that look at a model itself, for metrics that need more than predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.components import AnyChosen
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.stage import Made, Stage, Stored

from supreme_core.api.names import PROBE, RETRAINED
from supreme_core.engine.toolbox.probe_task import ProbeTask, Subject
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.plan import Step
from supreme_core.randomness import streams
from supreme_core.scoring.evaluation import Findings, Model
from supreme_core.scoring.run_scoring import probe_title


@dataclass(frozen=True)
class Probed:
    """A model for probes, and the key of the stage that it comes from."""

    key: str
    subject: Subject


Models = Mapping[Model, Probed]
"""The model itself, which is `unlearned` also where it is a reference, and the two that it is
compared with."""


@dataclass(frozen=True)
class ProbeStage(Stage[Findings]):
    """metric: the title of the one that the probe is for.  method, repeat: whose model it is."""

    context: SeedContext
    cell: Cell
    metric: str
    method: str
    repeat: int
    models: Models

    name = "probes"
    trains = True  # where the model has to be unlearned again
    of_run = True

    @property
    def step(self) -> Step:
        return Step("probes", self.cell.title, self.method, self.repeat, self.metric)

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {
            "engine": ENGINE_VERSION,
            "models": {model: probed.key for model, probed in self.models.items()},
            "split": self.cell.split.digest,
            "probe": self._chosen.identity(),
            "seed": self.context.seed,
        }

    def make(self, checkpoints: Checkpoints) -> Made:
        context, name = self.context, self._chosen.entry.name
        self.models["unlearned"].subject.load(checkpoints)
        found = self._chosen(
            ProbeTask(
                subject=self.models["unlearned"].subject,
                original=self.models["original"].subject,
                retrained=self.models["retrained"].subject,
                sets=self.cell.sets,
                shape=self.cell.data.shape,
                numerics=context.numerics,
                seed=streams.derive(context.seed, "probes", name),
                report=context.telemetry.progress,
            )
        )
        numbers = {name: np.asarray(value, np.float64) for name, value in found.items()}
        return Made({PROBE: save(numbers)}, {})

    def read(self, stored: Stored) -> Findings:
        return load_file(stored.files[PROBE])

    @property
    def title(self) -> str:
        """Name and settings of the probe; two metrics may read the same one."""
        return probe_title(self.context.components.metrics[self.metric])

    @property
    def _chosen(self) -> AnyChosen:
        return self.context.components.probes[self.metric]


def probes_of_run(
    context: SeedContext, cell: Cell, method: str, repeat: int, models: Models
) -> dict[Model, list[ProbeStage]]:
    """Probes that the metrics of one run read, a stage for each metric: of its own model and of
    Retrained. Where no metric has a probe there are none."""
    metrics = context.components.probes
    if not metrics:
        return {}
    retrained = {**models, "unlearned": models["retrained"]}
    return {
        "unlearned": [
            ProbeStage(context, cell, metric, method, repeat, models) for metric in metrics
        ],
        "retrained": [
            ProbeStage(context, cell, metric, RETRAINED, 0, retrained) for metric in metrics
        ],
    }
