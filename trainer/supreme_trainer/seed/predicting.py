"""Predictions: one pass of a model over the training and the test set, from which every metric is
computed."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from supreme_trainer.seed.stage import Later, Made, Stage, Stored
from supreme_trainer.seed.training import Trained
from torch import nn

from supreme_core.api.names import LOGIT_CONFIDENCE, NOISED, PREDICTIONS, UNTRAINED
from supreme_core.api.v1alpha1 import EvaluationPrecision
from supreme_core.engine.evaluation.noise import add_noise
from supreme_core.engine.evaluation.prediction import accuracy, predict
from supreme_core.engine.images import randomness
from supreme_core.engine.images.samples import Samples
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.precision import computing_in
from supreme_core.engine.training.recipe import ENGINE_VERSION
from supreme_core.plan import Step
from supreme_core.randomness import streams
from supreme_core.scoring.evaluation import Predictions
from supreme_core.scoring.predictions import (
    load_predictions,
    save_predictions,
    split_predictions,
    summarised,
)


@dataclass(frozen=True)
class NetworkPredictionsStage(Stage[Predictions]):
    """Predictions of a network that is no run of a method."""

    context: SeedContext
    cell: Cell

    name = "predictions"

    @property
    @abstractmethod
    def model_meaning(self) -> object:
        """Meaning of the network."""

    @abstractmethod
    def network(self, checkpoints: Checkpoints) -> nn.Module:
        """The network."""

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {
            "engine": ENGINE_VERSION,
            "model": self.model_meaning,
            "split": self.cell.split.digest,
            **self.context.evaluation_meaning,
        }

    def make(self, checkpoints: Checkpoints) -> Made:
        return made_predictions(self.context, self.cell, self.network(checkpoints))

    def read(self, stored: Stored) -> Predictions:
        return load_predictions(stored.files[PREDICTIONS])


@dataclass(frozen=True)
class PredictionsStage(NetworkPredictionsStage):
    """Predictions of Original or of a replica of Retrained in a cell.

    method, replica: which of them it is, for progress.
    """

    model: Later[Trained]
    method: str
    replica: int = 0

    @property
    def step(self) -> Step:
        return Step("predictions", self.cell.title, self.method, self.replica)

    @property
    def model_meaning(self) -> str:
        return self.model.key

    def network(self, checkpoints: Checkpoints) -> nn.Module:
        networks = self.context.networks(self.cell.data.shape)
        return networks.with_weights(self.model.value().weights)


@dataclass(frozen=True)
class UntrainedPredictionsStage(NetworkPredictionsStage):
    """Predictions of a network that was never trained, here or elsewhere, and is kept nowhere; some
    metrics compare with it."""

    @property
    def step(self) -> Step:
        return Step("predictions", self.cell.title, UNTRAINED)

    @property
    def model_meaning(self) -> Mapping[str, Any]:
        precision = self.context.numerics.precision
        return {
            **({"precision": precision} if precision == "fp64" else {}),  # its weights are fp64
            "untrained": self.context.components.model.identity(),
            "dataset": self.cell.data.digest,
            "seed": self.context.seed,
            **self.context.input_meaning(),
        }

    def network(self, checkpoints: Checkpoints) -> nn.Module:
        networks = self.context.networks(self.cell.data.shape)
        return networks.random(streams.derive(self.context.seed, "untrained"))


@dataclass(frozen=True)
class NoisedPredictionsStage(NetworkPredictionsStage):
    """Predictions of Original with noise on its weights, which costs it ten points of accuracy on
    unseen samples that are to be kept: it has forgotten nothing in particular. The network is kept
    nowhere."""

    original: Later[Trained]

    @property
    def step(self) -> Step:
        return Step("predictions", self.cell.title, NOISED)

    @property
    def model_meaning(self) -> Mapping[str, Any]:
        return {"noised": self.original.key, "seed": self.context.seed}

    def network(self, checkpoints: Checkpoints) -> nn.Module:
        context, shape = self.context, self.cell.data.shape
        network = context.networks(shape).with_weights(self.original.value().weights)
        kept, classes = self.cell.sets["retain_test"], shape.classes
        add_noise(
            network,
            lambda: accuracy(network, kept, classes=classes, ranks=context.ranks),
            loss=0.1,
            generator=randomness.generator(context.seed, "noised"),
        )
        return network


@dataclass(frozen=True)
class LogitConfidenceStage(Stage[NDArray[np.float64]]):
    """Logit confidence of each training sample, by the original; some splits are made from
    them."""

    context: SeedContext
    data: Data
    original: Later[Trained]

    name = "margins"

    @property
    def step(self) -> Step:
        return Step("margins")

    @cached_property
    def meaning(self) -> Mapping[str, Any]:
        return {"engine": ENGINE_VERSION, "margins": self.original.key}

    def make(self, checkpoints: Checkpoints) -> Made:
        networks = self.context.networks(self.data.shape)
        network = networks.with_weights(self.original.value().weights)
        # In fp32 whatever the metrics read, as a split is not to depend on how it is evaluated.
        logits = _logits(self.context, self.data, network, self.data.train, precision="fp32")
        found = summarised(logits, _labels(self.data.train), np.arange(len(logits)))
        return Made({LOGIT_CONFIDENCE: save({"margins": found.logit_confidence})}, {})

    def read(self, stored: Stored) -> NDArray[np.float64]:
        return load_file(stored.files[LOGIT_CONFIDENCE])["margins"]


def made_predictions(context: SeedContext, cell: Cell, network: nn.Module) -> Made:
    """Predict every sample of a cell, for the stage that leaves the predictions."""
    data, split = cell.data, cell.split
    train, test = (_logits(context, data, network, each) for each in (data.train, data.test))
    forwarded, held_out = len(train) + len(test), None
    if data.held_out:
        logits = _logits(context, data, network, data.held_out)
        held_out = logits, _labels(data.held_out)
        forwarded += len(logits)
    predictions = split_predictions(
        train,
        _labels(data.train),
        test,
        _labels(data.test),
        forget=split.forget,
        retain=split.retain,
        forget_test=split.forget_test,
        retain_test=split.retain_test,
        held_out=held_out,
    )
    return Made({PREDICTIONS: save_predictions(predictions)}, {"forwardedSamples": forwarded})


def _logits(
    context: SeedContext,
    data: Data,
    network: nn.Module,
    samples: Samples,
    *,
    precision: EvaluationPrecision | None = None,
) -> NDArray[np.float32]:
    """precision: None for that of the experiment's evaluations."""
    ranks = context.ranks
    with computing_in(precision or context.evaluation_precision, network, ranks.device):
        return predict(network, samples, classes=data.shape.classes, ranks=ranks)


def _labels(samples: Samples) -> NDArray[np.int64]:
    return samples.labels.cpu().numpy()
