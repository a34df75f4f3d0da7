"""The probes of one cell: stages that look at a model itself, for metrics that need more than
predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from safetensors.numpy import load_file, save
from supreme_trainer.seed.stage import Made, Stage
from supreme_trainer.seed.stages import Cell, Data, SeedStages
from torch import nn

from supreme_core.api.names import PROBE, RETRAINED
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.toolbox.probe_task import ProbeTask, Subject
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.plan import Step, probe_steps
from supreme_core.randomness import streams
from supreme_core.registry import SetName
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
class CellProbes:
    """Makes the stages. Where no metric has a probe there are none, and nothing is prepared."""

    seed: SeedStages
    data: Data
    cell: Cell

    def subject(self, make: Callable[[Checkpoints], nn.Module]) -> Subject:
        """A model of the cell; it is made when the first probe looks at it."""
        classes, ranks = self.data.shape.classes, self.seed.ranks
        return Subject(make, lambda: self._sets, classes=classes, ranks=ranks)

    def steps(self, method: str, repeat: int) -> list[Step]:
        """Steps of one run, one for each metric that has a probe."""
        return probe_steps(self.cell.title, method, repeat, self.seed.components.probes)

    def of_run(self, method: str, repeat: int, models: Models) -> "RunProbes":
        """Probes that the metrics of one run read."""
        own = [self._stage(step, models) for step in self.steps(method, repeat)]
        retrained = {**models, "unlearned": models["retrained"]}
        others = [self._stage(step, retrained) for step in self.steps(RETRAINED, 0)]
        return RunProbes(
            {probe.step.metric: self._title(probe) for probe in own},
            {"unlearned": own, "retrained": others} if own else {},
        )

    def _title(self, probe: Stage[Findings]) -> str:
        return probe_title(self.seed.components.metrics[probe.step.metric])

    def _stage(self, step: Step, models: Models) -> Stage[Findings]:
        chosen = self.seed.components.probes[step.metric]

        def make(checkpoints: Checkpoints) -> Made:
            models["unlearned"].subject.wake(checkpoints)
            found = chosen(
                ProbeTask(
                    subject=models["unlearned"].subject,
                    original=models["original"].subject,
                    retrained=models["retrained"].subject,
                    sets=self._sets,
                    shape=self.data.shape,
                    numerics=self.seed.numerics,
                    seed=streams.derive(self.seed.seed, "probes", chosen.entry.name),
                    report=self.seed.telemetry.progress,
                )
            )
            numbers = {name: np.asarray(value, np.float64) for name, value in found.items()}
            return Made({PROBE: save(numbers)}, {})

        return Stage(
            name="probes",
            step=step,
            meaning={
                "engine": ENGINE_VERSION,
                "models": {model: probed.key for model, probed in models.items()},
                "split": self.cell.split.digest,
                "probe": chosen.identity(),
                "seed": self.seed.seed,
            },
            make=make,
            read=lambda stored: load_file(stored.files[PROBE]),
            trains=True,  # where the model has to be unlearned again
            of_run=True,
        )

    @cached_property
    def _sets(self) -> dict[SetName, Samples]:
        data, split = self.data, self.cell.split
        held_out = data.test.take(torch.from_numpy(split.forget_test))
        return {
            "forget": data.train.take(torch.from_numpy(split.forget)),
            "retain": data.train.take(torch.from_numpy(split.retain)),
            "test": data.test,
            "forget_test": held_out if data.held_out is None else data.held_out,
            "retain_test": data.test.take(torch.from_numpy(split.retain_test)),
        }


@dataclass(frozen=True)
class RunProbes:
    """The probes of one run's own model and of Retrained, a stage for each metric.

    titles: `probe_title` by metric; two metrics may have the same one.
    """

    titles: Mapping[str, str]
    stages: Mapping[Model, Sequence[Stage[Findings]]]

    def all(self) -> list[Stage[Findings]]:
        return [probe for stages in self.stages.values() for probe in stages]

    def keys(self) -> dict[Model, dict[str, str]]:
        return {
            model: {self.titles[probe.step.metric]: probe.key for probe in stages}
            for model, stages in self.stages.items()
        }

    def findings(
        self, read: Callable[[Stage[Findings]], Findings]
    ) -> dict[Model, dict[str, Findings]]:
        return {
            model: {self.titles[probe.step.metric]: read(probe) for probe in stages}
            for model, stages in self.stages.items()
        }
