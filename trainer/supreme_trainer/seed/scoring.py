"""Metrics of one run, computed from what other stages have stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.stage import Made, Stage, Stored

from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.plan import Step
from supreme_core.scoring.run_scoring import Scoring, read_metrics


@dataclass(frozen=True)
class MetricsStage(Stage[dict[str, float | None]]):
    """Numbers of one run; `supreme recompute` computes the same ones, by the same Scoring."""

    cell: Cell
    scoring: Scoring

    name = "metrics"
    of_run = True

    @property
    def step(self) -> Step:
        run = self.scoring.inputs
        return Step("metrics", self.cell.title, run.method, run.repeat)

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return self.scoring.meaning()

    def make(self, checkpoints: Checkpoints) -> Made:
        return Made({}, {"metrics": self.scoring.values(self.scoring.inputs.read())})

    def read(self, stored: Stored) -> dict[str, float | None]:
        return read_metrics(stored.manifest.facts)
