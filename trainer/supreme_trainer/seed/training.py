"""Trainings by the recipe of the experiment: Original, and Retrained without the forget set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from supreme_trainer.seed.stage import Made, Stage, Stored
from torch import nn

from supreme_core.api.names import RETRAINED, WEIGHTS
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.networks.weights import Weights, on_cpu
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.curve import document
from supreme_core.engine.training.fit import fit
from supreme_core.engine.training.selection import BestEpoch
from supreme_core.errors import MethodFailed, SupremeError
from supreme_core.plan import Step
from supreme_core.scoring.evaluation import Cost
from supreme_core.scoring.run_scoring import read_cost


@dataclass(frozen=True)
class Trained:
    """A trained network's weights, on the CPU, and what training it took."""

    weights: Weights
    cost: Cost

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return arrays(self.weights)


@dataclass(frozen=True)
class OriginalStage(Stage[Trained]):
    """poisoned: the cell whose data these are, where they are not those of all scenarios."""

    context: SeedContext
    data: Data
    poisoned: Cell | None = None

    name = "originals"
    trains = True

    @property
    def step(self) -> Step:
        return Step("original", self.poisoned.title if self.poisoned else "")

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        poison = {"poison": self.poisoned.split.forget_digest} if self.poisoned else {}
        return {**_meaning(self.context, self.data), **poison}

    def make(self, checkpoints: Checkpoints) -> Made:
        """Train on everything but what is set aside."""
        everything = np.arange(len(self.data.train))
        kept = np.setdiff1d(everything, _set_aside(self.context, self.data), assume_unique=True)
        title = f" of {self.poisoned.title}" if self.poisoned else ""
        return _trained(
            self.context,
            self.data,
            self.data.train.take(torch.from_numpy(kept)),
            checkpoints,
            replica=0,
            name=f"the original model{title}",
        )

    def read(self, stored: Stored) -> Trained:
        return _read(stored)


@dataclass(frozen=True)
class RetrainedStage(Stage[Trained]):
    """The same recipe, initial weights and order stream as the original, on the retain set."""

    context: SeedContext
    cell: Cell
    replica: int

    name = "retrained"
    trains = True

    @property
    def step(self) -> Step:
        return Step("retrained", self.cell.title, RETRAINED, self.replica)

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {
            **_meaning(self.context, self.cell.data),
            "forget": self.cell.split.forget_digest,
            "replica": self.replica,
        }

    def make(self, checkpoints: Checkpoints) -> Made:
        return _trained(
            self.context,
            self.cell.data,
            self.cell.data.train.take(torch.from_numpy(self.cell.split.retain)),
            checkpoints,
            replica=self.replica,
            name=f"the retrained model of {self.cell.title}",
        )

    def read(self, stored: Stored) -> Trained:
        return _read(stored)


def _meaning(context: SeedContext, data: Data) -> dict[str, Any]:
    """Meaning of a training, but for what is left out of its samples or poisoned in them."""
    ranks = {"ranks": context.ranks.size} if context.numerics.overlapped else {}
    start = {"pretrained": context.start.digest} if context.start else {}
    return {
        **ranks,
        "recipe": context.components.recipe.identity(),
        "model": context.components.model.identity(),
        "dataset": data.digest,
        "seed": context.seed,
        **context.input_meaning(),
        **start,
    }


def _trained(
    context: SeedContext,
    data: Data,
    samples: Samples,
    checkpoints: Checkpoints,
    *,
    replica: int,
    name: str,
) -> Made:
    stream = context.streams.training(replica)
    network = context.networks(data.shape).new(stream)
    best = _selection(context, data, network)
    recipe = context.components.recipe.fit(stream)
    with checkpoints.meter.measured() as meter:
        try:
            fit(
                network,
                samples,
                replace(recipe, observers=[best] if best else []),
                seed=stream,
                numerics=context.numerics,
                report=context.telemetry.progress,
                checkpoints=checkpoints,
            )
        except MethodFailed as error:
            raise SupremeError(f"{name} of seed {context.seed} did not train: {error}") from None
        if best:
            best.restore()
    facts: dict[str, Any] = {"cost": meter.cost.to_facts()}
    if curves := document(checkpoints.curves):
        facts["curves"] = curves
    if best and curves:
        (curve,) = curves
        curve["validation"] = best.accuracies(curve["epoch"])
    if best:
        facts["selected"] = {"epoch": best.epoch, "accuracy": best.accuracy}
    return Made({WEIGHTS: packed(network.state_dict())}, facts)


def _selection(context: SeedContext, data: Data, network: nn.Module) -> BestEpoch | None:
    """Selection of the best epoch: for all models by the same samples and the same rule."""
    if context.components.recipe.training.selection == "last":
        return None
    samples = data.train.take(torch.from_numpy(_set_aside(context, data)))
    return BestEpoch(network, samples, data.shape.classes, context.ranks)


def _set_aside(context: SeedContext, data: Data) -> NDArray[np.int64]:
    return context.splits.set_aside(data.labels, context.seed)


def _read(stored: Stored) -> Trained:
    return Trained(load_file(stored.files[WEIGHTS]), read_cost(stored.manifest.facts))


def arrays(weights: Weights) -> dict[str, NDArray[Any]]:
    """The same memory as numpy sees it."""
    return {name: tensor.numpy() for name, tensor in weights.items()}


def packed(weights: Weights) -> bytes:
    """The content of a file of weights."""
    return save(on_cpu(weights))
